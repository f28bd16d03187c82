//! Every flag, and the quirks of those who read them.

use domain_xhyve::{Conversion, FreeBsdLoader, MissingDevices, Settings, Tap, convert};
use witvirt_sdk::core::Name;
use witvirt_sdk::core::domain::Severity;
use witvirt_sdk::domain::Options;

const UUID: &str = "8e7af180-c54d-4aa2-9bef-59d94a1ac572";

fn with(settings: &Settings, program: &str, words: &[&str]) -> Conversion {
    let argv: Vec<&str> = [program].into_iter().chain(words.iter().copied()).collect();
    let options = Options { directory: Some("/vm".to_owned()), ..Options::default() };
    convert(&serde_json::to_string(&argv).unwrap(), &options, settings).unwrap()
}

/// A machine that starts, with more words before its firmware.
fn xhyve(words: &[&str]) -> Conversion {
    let words = [words, &["-f", "kexec,k,i,c"]].concat();
    with(&Settings::default(), "xhyve", &words)
}

fn errors(made: &Conversion) -> Vec<String> {
    let errors = made.diagnostics.iter().filter(|d| d.severity == Severity::Error);
    errors.map(|d| format!("{}: {}", d.path.as_deref().unwrap_or("-"), d.message)).collect()
}

/// Code and place of everything that is said, but for what is said of every machine.
fn said(made: &Conversion) -> Vec<String> {
    let rest = made.diagnostics.iter().filter(|d| d.code != "xhyve.name");
    rest.map(|d| format!("{:?} {} {}", d.severity, d.code, d.path.as_deref().unwrap_or("-"))).collect()
}

#[track_caller]
fn has(made: &Conversion, part: &str) {
    assert!(made.xml.contains(part), "no {part}: {}", made.xml);
}

#[test]
fn flags_of_the_machine() {
    for (words, part) in [
        (&["-A"][..], "<acpi/>"),
        (&["-c", "4"], "<vcpu placement='static'>4</vcpu>"),
        (&["-c2abc"], "<vcpu placement='static'>2</vcpu>"),
        (&[], "<memory unit='KiB'>262144</memory>"),
        (&["-m", "512"], "<memory unit='KiB'>524288</memory>"),
        (&["-m3GB"], "<memory unit='KiB'>3145728</memory>"),
        (&["-C"], "dumpCore='on'"),
        (&["-u"], "<clock offset='utc'/>"),
        (&[], "<clock offset='localtime'/>"),
        (&["-U", UUID], "<uuid>8e7af180-c54d-4aa2-9bef-59d94a1ac572</uuid>"),
        (&["-x"], "<feature policy='require' name='x2apic'/>"),
        (&["-w"], "<msrs unknown='ignore'/>"),
        (&["-s", "5,virtio-rnd"], "<rng model='virtio'>"),
        (&["-Aux"], "<clock offset='utc'/>"),
    ] {
        let made = xhyve(words);
        has(&made, part);
        assert_eq!(errors(&made), [""; 0], "{words:?}");
    }
    assert!(!xhyve(&[]).xml.contains("<acpi/>"));
}

#[test]
fn flags_that_change_nothing_are_told() {
    for (words, expected) in [
        (&["-H"][..], "Info xhyve.option.meaningless argv[1]"),
        (&["-A", "-P"], "Info xhyve.option.meaningless argv[2]"),
        (&["-W"], "Info xhyve.option.meaningless argv[1]"),
        (&["-e"], "Info xhyve.option.meaningless argv[1]"),
        (&["-F", "a.pid"], "Info xhyve.option.meaningless argv[1]"),
        (&["-b"], "Warning xhyve.option.ignored argv[1]"),
        (&["-g", "5555"], "Warning xhyve.option.ignored argv[1]"),
        (&["-M"], "Warning xhyve.option.ignored argv[1]"),
        (&["-v"], "Warning xhyve.option.ignored argv[1]"),
        (&["-Y", "-A"], "Warning xhyve.option.swallowed argv[1]"),
    ] {
        assert_eq!(said(&xhyve(words)), [expected], "{words:?}");
    }
    // The word behind -Y is gone.
    assert!(!xhyve(&["-Y", "-A"]).xml.contains("<acpi/>"));
}

#[test]
fn what_the_program_refuses() {
    for (words, expected) in [
        (&["-p0:1"][..], "argv[1]: illegal option -p: the program would print its usage and end"),
        (&["-c", "17"], "argv[2]: 17 vCPUs requested but only 16 available"),
        (&["-c", "0"], "argv[2]: \"0\": not a number of virtual CPUs from 1 to 16"),
        (&["-c", "two"], "argv[2]: \"two\": not a number of virtual CPUs from 1 to 16"),
        (
            &["-m", "0"],
            "argv[2]: \"0\": not a size of memory: a number of mebibytes, or one with b, k, m, g, t, p or e behind it",
        ),
        (
            &["-U", "8e7af180c54d4aa29bef59d94a1ac572"],
            "argv[2]: \"8e7af180c54d4aa29bef59d94a1ac572\": not a UUID like 8e7af180-c54d-4aa2-9bef-59d94a1ac572",
        ),
        (&["-s", "2,virtio-net", "-s", "0:2:0,virtio-rnd"], "argv[4]: pci slot 0:2:0 already occupied!"),
        (&["-s", "2,virtio-gpu"], "argv[2]: pci slot 0:2:0: unknown device \"virtio-gpu\" of xhyve"),
        (&["-s", "30,xhci,tablet"], "argv[2]: pci slot 0:30:0: unknown device \"xhci\" of xhyve"),
        (&["-s", "1:31:0,lpc"], "argv[2]: lpc: the bridge has to be on bus 0"),
        (&["-s", "1,lpc", "-s", "2,lpc"], "argv[4]: lpc: there is one bridge"),
        (
            &["-s", "31,lpc", "-l", "com1,stdio", "-l", "com2,stdio"],
            "argv[6]: stdio is taken by the other serial port",
        ),
        (
            &["-s", "4,virtio-blk,a,nocache"],
            "argv[2]: nocache: support is unimplemented, and the device fails: leave it out",
        ),
        (&["-s", "4,virtio-tap,en0"], "argv[2]: \"en0\": a card leads to a tap device, tapN"),
    ] {
        let made = xhyve(words);
        let network = |error: &String| !error.contains("MAC");
        assert_eq!(errors(&made).into_iter().filter(network).collect::<Vec<_>>(), [expected], "{words:?}");
    }
    let made = with(&Settings::default(), "xhyve", &["-A"]);
    assert!(errors(&made)[0].starts_with("argv[0]: nothing starts the guest"), "{:?}", errors(&made));
}

#[test]
fn an_unquoted_command_line_loses_its_tail() {
    let made = with(
        &Settings::default(),
        "xhyve",
        &["-f", "kexec,k,,earlyprintk=serial", "console=ttyS1", "acpi=off"],
    );
    has(&made, "<cmdline>earlyprintk=serial</cmdline>");
    assert!(!made.xml.contains("<initrd>"));
    let lost = made.diagnostics.iter().find(|d| d.code == "xhyve.operand.ignored").unwrap();
    assert_eq!((lost.severity, lost.path.as_deref()), (Severity::Warning, Some("argv[3]")));
    assert!(lost.message.contains("console=ttyS1 acpi=off"), "{}", lost.message);
}

#[test]
fn the_last_of_repeated_ports_counts() {
    let made = xhyve(&["-s", "31,lpc", "-l", "com1,/dev/ttys001", "-l", "com1,stdio"]);
    assert_eq!(said(&made), ["Warning xhyve.lpc.repeated argv[4]"]);
    assert_eq!(made.xml.matches("<serial type='pty'>").count(), 1);
    // The one that leads somewhere is the console, whichever its number.
    let made = xhyve(&["-l", "com1", "-l", "com2,stdio", "-s", "31,lpc"]);
    let (second, first) = (made.xml.find("port='1'").unwrap(), made.xml.find("port='0'").unwrap());
    assert!(second < first, "{}", made.xml);
    has(&made, "<serial type='null'>");
    let made = xhyve(&["-l", "com1,stdio"]);
    assert_eq!(said(&made), ["Warning xhyve.serial.bridge argv[2]"]);
    assert!(!made.xml.contains("<serial"));
}

#[test]
fn disks_have_the_order_of_their_slots() {
    let made = xhyve(&[
        "-s",
        "5,virtio-blk,b.img",
        "-s",
        "4,virtio-blk,/a.img,ro,sync",
        "-s",
        "3,ahci-cd,path with spaces.iso",
    ]);
    let (a, b) = (made.xml.find("/a.img").unwrap(), made.xml.find("/vm/b.img").unwrap());
    assert!(a < b, "{}", made.xml);
    for part in [
        "cache='writethrough'",
        "<target dev='vda' bus='virtio'/>",
        "<readonly/>",
        "/vm/path with spaces.iso",
        "<target dev='sda' bus='sata'/>",
    ] {
        has(&made, part);
    }
    let many: Vec<String> = (1..=8).map(|slot| format!("-s{slot},ahci-hd,/{slot}")).collect();
    let made = xhyve(&many.iter().map(String::as_str).collect::<Vec<_>>());
    has(&made, "<controller type='sata' index='1'/>");
    has(&made, "<address type='drive' controller='1' bus='0' target='0' unit='1'/>");
    let made = xhyve(&["-s", "4,virtio-blk,/dev/disk2"]);
    has(&made, "<source dev='/dev/disk2'/>");
    assert_eq!(said(&made), ["Warning xhyve.disk.device argv[2]"]);
    let made = with(
        &Settings::default(),
        "hyperkit",
        &["-s", "1,ahci-hd,file:///a%20b.qcow2?sync=os,format=qcow", "-f", "kexec,k,i,c"],
    );
    has(&made, "<driver name='qemu' type='qcow2'/>");
    has(&made, "<source file='/a b.qcow2'/>");
}

#[test]
fn cards_have_one_address_for_one_uuid() {
    let mac = |words: &[&str]| {
        let made = xhyve(words);
        let (_, rest) = made.xml.split_once("<mac address='")?;
        Some(rest[..17].to_owned())
    };
    let card = &["-s", "2,virtio-net"][..];
    let first = mac(&[card, &["-U", UUID]].concat()).unwrap();
    assert_eq!(mac(&[&["-A", "-U", &UUID.to_uppercase()][..], card].concat()), Some(first.clone()));
    assert_ne!(mac(&[card, &["-U", "deadbeef-dead-dead-dead-deaddeafbeef"]].concat()), Some(first));
    assert_eq!(mac(card), None);
    assert_eq!(said(&xhyve(card)), ["Info xhyve.network.mac argv[2]"]);
}

#[test]
fn settings_decide_what_is_missing() {
    let tap = &["-s", "2,virtio-tap,tap3,mac=00:a0:98:01:02:03"][..];
    has(&xhyve(tap), "<interface type='ethernet'>");
    has(&xhyve(tap), "<target dev='tap3' managed='no'/>");
    for (choice, kind) in [(Tap::User, "user"), (Tap::Unplugged, "null")] {
        let settings = Settings { tap: choice, ..Settings::default() };
        let made = with(&settings, "xhyve", &[tap, &["-f", "kexec,k,i,c"]].concat());
        has(&made, &format!("<interface type='{kind}'>"));
        has(&made, "<mac address='00:a0:98:01:02:03'/>");
        assert_eq!(said(&made), ["Warning xhyve.network.tap argv[2]"]);
    }
    let socket = &["-s", "3,virtio-sock,guest_cid=3,path=a", "-f", "kexec,k,i,c"][..];
    assert!(errors(&with(&Settings::default(), "hyperkit", socket))[0].contains("missing-devices"));
    let settings = Settings { missing_devices: MissingDevices::LeaveOut, ..Settings::default() };
    assert_eq!(said(&with(&settings, "hyperkit", socket)), ["Warning xhyve.device.missing argv[2]"]);
    let freebsd =
        &["-s", "4,virtio-blk,a.img", "-s", "5,virtio-blk,b.img", "-f", "fbsd,userboot.so,b.img,"][..];
    assert!(errors(&with(&Settings::default(), "xhyve", freebsd))[0].contains("userboot.so"));
    let settings = Settings { fbsd: FreeBsdLoader::Disk, ..Settings::default() };
    let made = with(&settings, "xhyve", freebsd);
    assert_eq!(said(&made), ["Warning xhyve.firmware.fbsd argv[6]"]);
    assert!(made.xml.find("/vm/b.img") < made.xml.find("<boot order='1'/>"), "{}", made.xml);
}

#[test]
fn windows_by_a_boot_rom() {
    let words = [
        "-w",
        "-c2",
        "-s",
        "5,e1000",
        "-s",
        "29,fbuf,tcp=127.0.0.1:29000,w=1024,h=768,wait",
        "-l",
        "bootrom,BHYVE_UEFI.fd",
    ];
    let made = with(&Settings::default(), "xhyve", &words);
    for part in [
        "<loader readonly='yes' type='pflash'>/vm/BHYVE_UEFI.fd</loader>",
        "<graphics type='vnc' port='29000' autoport='no' listen='127.0.0.1'>",
        "<resolution x='1024' y='768'/>",
        "<model type='e1000-82545em'/>",
    ] {
        has(&made, part);
    }
    assert_eq!(errors(&made), [""; 0]);
    let made = with(&Settings::default(), "hyperkit", &["-f", "bootrom,/a.fd,,"]);
    has(&made, "<loader readonly='yes' type='pflash'>/a.fd</loader>");
}

#[test]
fn names() {
    let name = |words: &[&str], wanted: Option<&str>| {
        let argv = serde_json::to_string(&words).unwrap();
        let wanted = wanted.map(|name| Name::new(name).unwrap());
        let made =
            convert(&argv, &Options { name: wanted, ..Options::default() }, &Settings::default()).unwrap();
        let (_, rest) = made.xml.split_once("<name>").unwrap();
        (rest.split_once('<').unwrap().0.to_owned(), made.diagnostics.iter().any(|d| d.code == "xhyve.name"))
    };
    let expected = |name: &str, said| (name.to_owned(), said);
    assert_eq!(name(&["xhyve", "-U", UUID], None), expected("xhyve-8e7af180", true));
    assert_eq!(name(&["xhyve", "-s", "1,virtio-blk,/vm/disk one.img"], None), expected("disk one", true));
    assert_eq!(name(&["xhyve"], None), expected("xhyve", true));
    assert_eq!(name(&["bhyve", "guest"], None), expected("guest", false));
    assert_eq!(name(&["bhyve", "guest"], Some("other")), expected("other", false));
}

#[test]
fn other_programs_need_a_dialect() {
    let argv = "[\"/opt/vmm\", \"-s\", \"0,hostbridge\", \"-f\", \"kexec,/k,/i,c\"]";
    let error = convert(argv, &Options::default(), &Settings::default()).unwrap_err().to_string();
    assert!(error.contains("\"dialect\""), "{error}");
    let settings = Settings { dialect: Some(domain_xhyve::Dialect::Xhyve), ..Settings::default() };
    assert!(convert(argv, &Options::default(), &settings).is_ok());
    for (document, part) in [
        ("[]", "nothing starts xhyve"),
        ("[\"xhyve\", 1]", "not a JSON array of arguments"),
        ("[\"xhyve\", \"-U\\u0001\"]", "word 1 of the command line has a control character"),
    ] {
        let error = convert(document, &Options::default(), &Settings::default()).unwrap_err().to_string();
        assert!(error.contains(part), "{document}: {error}");
    }
}

#[test]
fn bhyve_has_flags_of_its_own() {
    let run = |words: &[&str]| with(&Settings::default(), "bhyve", words);
    let made = run(&[
        "-c",
        "cpus=8,sockets=2,cores=2,threads=2",
        "-S",
        "-s",
        "2,ahci,hd:/a,ro,cd:/b",
        "-s",
        "3,nvme,/c",
        "vm",
    ]);
    for part in [
        "<topology sockets='2' cores='2' threads='2'/>",
        "<locked/>",
        "<target dev='nvme0n1' bus='nvme'/>",
        "<source file='/b'/>",
        "<name>vm</name>",
    ] {
        has(&made, part);
    }
    assert_eq!(errors(&made), [""; 0]);
    let made = run(&[
        "-l",
        "bootrom,/code.fd,/vars.fd",
        "-s",
        "30,xhci,tablet",
        "-s",
        "3,virtio-blk,/a,nocache,sync",
        "vm",
    ]);
    for part in [
        "<nvram>/vars.fd</nvram>",
        "<input type='tablet' bus='usb'/>",
        "model='qemu-xhci'",
        "cache='directsync'",
    ] {
        has(&made, part);
    }
    for (words, part) in [
        (&["-c", "cpus=3,cores=2", "vm"][..], "not a number of virtual CPUs"),
        (&["-k", "a.conf", "vm"], "bhyve's own config is not read"),
        (&["-s", "3,passthru,2/0/0", "vm"], "there is no such device here"),
        (&["-l", "tpm,passthru,/dev/tpm0", "vm"], "the host's own TPM"),
    ] {
        assert!(errors(&run(words))[0].contains(part), "{words:?}: {:?}", errors(&run(words)));
    }
}

#[test]
fn many_words_are_no_feast() {
    let slots: Vec<String> = (0..2000).map(|_| "-s2,virtio-gpu".to_owned()).collect();
    let made = xhyve(&slots.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(made.diagnostics.len() < 210, "{}", made.diagnostics.len());
    assert!(made.diagnostics.iter().any(|d| d.code == "xhyve.diagnostics.truncated"));
    let large = format!("xhyve {}", "x".repeat(300 << 10));
    let error = convert(&large, &Options::default(), &Settings::default()).unwrap_err().to_string();
    assert!(error.contains("more than 262144 bytes"), "{error}");
}
