//! Scripts, as far as they are read: which command line comes out, and what is said.

use domain_xhyve::{Settings, convert};
use witvirt_sdk::core::domain::{Diagnostic, Severity};
use witvirt_sdk::domain::Options;

fn options() -> Options {
    Options { directory: Some("/vm".to_owned()), ..Options::default() }
}

/// The kernel's command line that a script gives, which stands for all of its words; or the refusal.
fn cmdline(script: &str) -> Result<String, String> {
    let made = convert(script, &options(), &Settings::default()).map_err(|error| {
        let source =
            std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
        format!("{error}{source}")
    })?;
    let (_, rest) = made.xml.split_once("<cmdline>").expect("no <cmdline>");
    let (text, _) = rest.split_once("</cmdline>").unwrap();
    Ok(text.replace("&amp;", "&").replace("&lt;", "<"))
}

fn diagnostics(script: &str) -> Vec<Diagnostic> {
    convert(script, &options(), &Settings::default()).unwrap().diagnostics
}

#[test]
fn words() {
    for (script, expected) in [
        ("xhyve -f kexec,k,i,a", "a"),
        ("xhyve -f kexec,k,i,\"a b\"", "a b"),
        ("xhyve -f 'kexec,k,i,a  \"b'", "a  \"b"),
        ("xhyve -f ke\"xec,k\",'i',a\\ b", "a b"),
        ("A='x  y'; xhyve -f kexec,k,i,\"$A\"", "x  y"),
        ("A='x y'\nxhyve -f kexec,k,i,$A", "x"),
        ("A=x B=${A}y\nxhyve -f kexec,k,i,\"${B}z $A\"", "xyz x"),
        ("xhyve \\\n  -f kexec,k,i,a\\\nb # and c", "ab"),
        ("F='-f kexec,k,i,a'\nexec sudo -E -u root ./build/xhyve $F", "a"),
        ("$ sudo xhyve -f kexec,k,i,a", "a"),
        ("xhyve -f kexec,k,i,'a;b&c' > log 2>&1 &", "a;b&c"),
        ("xhyve -f kexec,k,i,\"\\$x \\\"q\\\" \\n\" | tee log", "$x \"q\" \\n"),
        ("xhyve -f kexec,k,i,$'a\\tb'", "a\tb"),
        ("nohup env A=1 -u B nice -n 5 xhyve -f kexec,k,i,a", "a"),
        ("xhyve -f kexec,k,i,\"a#b\" #c", "a#b"),
        ("xhyve\r\n", ""),
    ] {
        if expected.is_empty() {
            assert!(convert(script, &options(), &Settings::default()).is_ok(), "{script}");
            continue;
        }
        assert_eq!(cmdline(script).as_deref(), Ok(expected), "{script}");
    }
}

#[test]
fn variables() {
    for (script, expected) in [
        ("A=${B:-def}; xhyve -f kexec,k,i,$A", "def"),
        ("B=; A=${B-def}x; xhyve -f kexec,k,i,$A", "x"),
        ("B=1; xhyve -f kexec,k,i,${B:+alt}", "alt"),
        (": ${B:=set}; xhyve -f kexec,k,i,$B", "set"),
        ("A=a; A+=b; export A=${A}c; xhyve -f kexec,k,i,$A", "abc"),
        ("A=(-c 2 -f 'kexec,k,i,x y'); A+=(-A); xhyve \"${A[@]}\"", "x y"),
        ("A=(a 'b c' d); xhyve -f kexec,k,i,\"${A[1]} ${A[*]}\"", "b c a b c d"),
        ("set -- -f 'kexec,k,i,a b'; shift; xhyve -f \"$1\"", "a b"),
        ("IFS=,; A=1,2; xhyve -f kexec k i $A", "unused"),
        ("xhyve -f kexec,k,i,\"$UNSET.\"", "."),
        ("f() { xhyve -f \"kexec,k,i,$1\"; }\nf 'a b'", "a b"),
        ("for a in x y; do L=\"$L$a\"; done; xhyve -f kexec,k,i,$L", "xy"),
        ("cd /srv; xhyve -f kexec,k,i,$PWD", "/srv"),
        ("cat > map <<EOF\n(hd0) `x` $(\nEOF\nxhyve -f kexec,k,i,a", "a"),
    ] {
        if expected == "unused" {
            assert!(cmdline_error(script).contains("kexec takes three parts"), "{script}");
            continue;
        }
        assert_eq!(cmdline(script).as_deref(), Ok(expected), "{script}");
    }
}

/// The first error of a script that is read.
fn cmdline_error(script: &str) -> String {
    let errors = diagnostics(script).into_iter().filter(|d| d.severity == Severity::Error);
    errors.map(|d| d.message).next().unwrap_or_default()
}

#[test]
fn conditions() {
    let call = "xhyve -f kexec,k,i,\"$A\"";
    for (script, expected) in [
        ("A=a; if [ -n \"$1\" ]; then A=b; fi", "a"),
        ("A=a; [ -z \"$1\" ] && A=b", "b"),
        ("A=a; [[ -n $A && x = x ]] || true", "a"),
        ("if [ \"$(whoami)\" != root ]; then echo no; exit 1; fi; A=a", "a"),
        ("which xhyve >/dev/null || { echo none; exit 1; }; A=a", "a"),
        ("A=a; if [ ! -f disk.img ]; then dd if=/dev/zero of=disk.img; fi", "a"),
        ("case \"$1\" in start) A=s;; '' | -h) A=e;; *) exit 1;; esac", "e"),
        ("while getopts x: o; do A=b; done; A=${A:-a}", "a"),
        ("if false; then A=b; elif true; then A=c; else A=d; fi", "c"),
        ("A=a; ( A=b )", "a"),
        ("A=a; until true; do A=b; done", "a"),
        ("if ! test 1 -gt 2; then A=a; fi", "a"),
    ] {
        assert_eq!(cmdline(&format!("{script}\n{call}")).as_deref(), Ok(expected), "{script}");
    }
    // What a condition decides is known where both ways agree only.
    let error = cmdline(&format!("A=a\nif [ -f x ]; then A=b; fi\n{call}")).unwrap_err();
    assert!(
        error.contains("line 3: word 2") && error.contains("what a condition decides in line 2"),
        "{error}"
    );
}

#[test]
fn what_is_only_known_when_it_runs_is_refused_with_both_lines() {
    for (script, cause) in [
        ("A=$(uuidgen)\nxhyve -U $A", "a command's output ($(...)) in line 1"),
        ("A=`uuidgen`\nxhyve -U $A", "a command's output (`...`) in line 1"),
        ("A=$((1 + 1))\nxhyve -c $A", "a sum ($((...))) in line 1"),
        ("\nxhyve -s 4,virtio-blk,$HOME/disk.img", "the environment variable HOME in line 2"),
        ("A=~/disk.img\nxhyve -s 4,virtio-blk,$A", "a home directory (~) in line 1"),
        ("A=x.img\nxhyve -s 4,virtio-blk,${A%.img}", "an edited variable (${...}) in line 2"),
        ("read A\nxhyve -m $A", "what is typed or read in line 1"),
        (". ./config\nxhyve -m $MEM", "what another file (source) sets in line 1"),
        ("A=${1:?}\nxhyve -m $A", "the variable 1, which the script asks for, in line 1"),
        ("X=$(which xhyve)\n$X -s 0,hostbridge", "a command's output ($(...)) in line 1"),
        ("\nxhyve -s {2,3},virtio-net", "a list in braces ({a,b}) in line 2"),
        ("xhyve -c 1 -m $?", "x"),
    ] {
        let Err(error) = convert(script, &options(), &Settings::default()) else {
            assert_eq!(cause, "x", "{script}");
            continue;
        };
        let error = error.to_string();
        assert!(
            error.contains(cause) && error.contains("line 2") && error.contains("JSON array"),
            "{script}: {error}"
        );
    }
    // Whatever no command line depends on does no harm.
    assert_eq!(cmdline("D=$(date); F=`x`; xhyve -f kexec,k,i,a").as_deref(), Ok("a"));
}

#[test]
fn several_calls() {
    // Asked for its MAC address first; the same again after a reboot.
    let script = "A='-U 8e7af180-c54d-4aa2-9bef-59d94a1ac572'\nxhyve $A -M\nwhile :; do\n  xhyve $A -f kexec,k,i,a\n\
                  [ $? -ne 0 ] && break\ndone\n";
    assert_eq!(cmdline(script).as_deref(), Ok("a"));
    let codes: Vec<_> = diagnostics(script).into_iter().map(|d| d.code).collect();
    for code in ["xhyve.shell.loop", "xhyve.shell.asked"] {
        assert!(codes.iter().any(|found| found == code), "{codes:?}");
    }
    let two = "xhyve -f kexec,k,i,one\nif [ -f x ]; then xhyve -f kexec,k,i,two; fi";
    let error = cmdline(two).unwrap_err();
    assert!(error.contains("starts 2 machines: 1 in line 1, 2 in line 2"), "{error}");
    let select = Options { select: Some("2".to_owned()), ..options() };
    let made = convert(two, &select, &Settings::default()).unwrap();
    assert!(made.xml.contains("<cmdline>two<"), "{}", made.xml);
    assert!(made.diagnostics.iter().any(|d| d.code == "xhyve.shell.condition" && d.line == Some(2)));
    let select = Options { select: Some("3".to_owned()), ..options() };
    let error = convert(two, &select, &Settings::default()).unwrap_err().to_string();
    assert!(error.contains("\"3\" is none of them"), "{error}");
    let named = "bhyve -s 0,hostbridge one\nbhyve -s 0,hostbridge two";
    let select = Options { select: Some("two".to_owned()), ..options() };
    assert!(convert(named, &select, &Settings::default()).unwrap().xml.contains("<name>two</name>"));
}

#[test]
fn no_call_at_all() {
    let error = cmdline("case $1 in\nstart) xhyve -f kexec,k,i,a ;;\nesac").unwrap_err();
    assert!(error.contains("line 2") && error.contains("without arguments"), "{error}");
    for script in ["", "echo xhyve", "brew install xhyve", "sudo cp build/xhyve /usr/local/bin/"] {
        assert!(cmdline(script).unwrap_err().contains("nothing starts xhyve"), "{script}");
    }
}

#[test]
fn not_the_language() {
    for (script, part) in [
        ("A='x\ny", "line 1: a ' that is not closed"),
        ("\n\nA=\"x", "line 3: a \" that is not closed"),
        ("A=$(x", "line 1: a $( that is not closed"),
        ("if true; then\nxhyve", "line 2: \"fi\" of \"if\" is missing"),
        ("done", "line 1: \"done\" is not expected here"),
        ("xhyve ; )", "line 1: \")\" is not expected here"),
        ("for ((i=0;i<3;i++)); do x; done", "counting loop"),
        ("diff <(a) <(b)", "a process as a file"),
        ("eval \"xhyve\" -s 0,hostbridge", "a hypervisor that \"eval\" starts"),
        ("f() { f; }; f", "more than 16 calls of functions"),
    ] {
        let error = cmdline(script).unwrap_err();
        assert!(error.contains(part), "{script}: {error}");
    }
    let deep = "(".repeat(100);
    assert!(cmdline(&deep).unwrap_err().contains("levels of nesting"));
    let bomb = format!("A=aaaaaaaa\n{}xhyve -f kexec,k,i,$A", "A=$A$A\n".repeat(30));
    assert!(cmdline(&bomb).unwrap_err().contains("more than 65536 bytes"), "{}", cmdline(&bomb).unwrap_err());
    let many = format!("for a in {}; do for b in {}; do :; done; done", "x ".repeat(500), "y ".repeat(500));
    assert!(cmdline(&many).unwrap_err().contains("steps of the script"));
}

#[test]
fn directories() {
    let source = |script: &str| {
        let made = convert(script, &options(), &Settings::default()).unwrap();
        let (_, rest) = made.xml.split_once("<source file='").unwrap();
        (rest.split_once('\'').unwrap().0.to_owned(), made.diagnostics)
    };
    let call = "xhyve -s 1,virtio-blk,d.img -f kexec,k,i,c";
    assert_eq!(source(call).0, "/vm/d.img");
    assert_eq!(source(&format!("cd a/b && cd ..; {call}")).0, "/vm/a/d.img");
    assert_eq!(source(&format!("cd /srv; {call}")).0, "/srv/d.img");
    // Where the script lies, in the ways that scripts say that.
    for there in
        ["cd \"$(dirname \"$0\")\"", "cd ${0%/*}", "cd /tmp; cd $(cd $(dirname $0) && pwd)", "cd $(pwd)"]
    {
        assert_eq!(source(&format!("{there}; {call}")).0, "/vm/d.img", "{there}");
    }
    assert_eq!(source(&format!("D=$(dirname $0); {}", call.replace("d.img", "$D/d.img"))).0, "/vm/d.img");
    let (path, diagnostics) = source(&format!("cd \"$(brew --prefix)\"\n{call}"));
    assert_eq!(path, "d.img");
    assert!(diagnostics.iter().any(|d| d.code == "xhyve.path.relative" && d.message.contains("line 1")));
}
