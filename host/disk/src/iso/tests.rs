//! The host's listers are the judges: what they find on the disk is what was put there.

use std::collections::BTreeMap;
use std::process::Command;

use proptest::prelude::*;

use super::{File, InvalidFiles, build};

fn iso(label: &str, files: &BTreeMap<String, Vec<u8>>) -> Result<Vec<u8>, InvalidFiles> {
    let files: Vec<_> = files.iter().map(|(path, content)| File { path, content }).collect();
    build(label, &files)
}

fn files(list: &[(&str, &[u8])]) -> BTreeMap<String, Vec<u8>> {
    list.iter().map(|(path, content)| ((*path).to_owned(), content.to_vec())).collect()
}

fn odd() -> BTreeMap<String, Vec<u8>> {
    let mut odd = files(&[
        ("user-data", b"#cloud-config\n"),
        ("meta-data", b""),
        ("openstack/latest/user_data", b"x"),
        ("openstack/latest/meta_data.json", &[7; 2048]),
        ("openstack/content/0000", &[8; 5000]),
        ("a/b/c/d/e/f/g/h", b"deep"),
        ("..data", b"dots"),
        ("Name With Spaces and \u{fc}ml\u{e4}uts.txt", b"wide"),
        ("autounattend.xml", b"<unattend/>"),
        ("AUTOUNATTEND.xml", b"other"),
    ]);
    for number in 0..200 {
        odd.insert(format!("many/file-number-{number}.conf"), vec![number as u8; number]);
    }
    odd.insert(format!("long/{}", "n".repeat(128)), b"1".to_vec());
    odd.insert(format!("long/{}m", "n".repeat(127)), b"2".to_vec());
    odd
}

/// Whether an oracle is installed; where tests are run for the record, all are.
fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

fn read_tree(root: &std::path::Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_path_buf()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
                continue;
            }
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            found.insert(name, std::fs::read(path).unwrap());
        }
    }
    found
}

/// What a program takes out of the file system.
fn extracted(program: &str, arguments: &[&str], image: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("disk.iso");
    std::fs::write(&file, image).unwrap();
    let out = scratch.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let fill =
        |text: &&str| text.replace("FILE", &file.to_string_lossy()).replace("OUT", &out.to_string_lossy());
    let output = Command::new(program).args(arguments.iter().map(fill)).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    let told = String::from_utf8_lossy(&output.stderr).to_lowercase();
    assert!(!told.contains("warning") && !told.contains("error"), "{program}: {told}");
    let found = read_tree(&out);
    // Directories without the right to write in them stay otherwise.
    let _ = Command::new("chmod").args(["-R", "u+w"]).arg(&out).status();
    found
}

#[test]
fn readers_of_rock_ridge_find_every_name_and_byte() {
    let image = iso("cidata", &odd()).unwrap();
    if has("bsdtar") {
        let found = extracted("bsdtar", &["-x", "-C", "OUT", "-f", "FILE", "--options", "!joliet"], &image);
        assert_eq!(found, odd());
    }
    if has("xorriso") {
        let arguments =
            ["-report_about", "WARNING", "-osirrox", "on", "-indev", "FILE", "-extract", "/", "OUT"];
        assert_eq!(extracted("xorriso", &arguments, &image), odd());
    }
}

#[test]
fn readers_of_joliet_find_every_name_that_fits() {
    let mut expected = odd();
    let image = iso("cidata", &expected).unwrap();
    expected.retain(|path, _| !path.starts_with("long/"));
    if has("bsdtar") {
        let mut found =
            extracted("bsdtar", &["-x", "-C", "OUT", "-f", "FILE", "--options", "!rockridge"], &image);
        let cut: Vec<_> = found.keys().filter(|path| path.starts_with("long/")).cloned().collect();
        let n = "n".repeat(62);
        assert_eq!(cut, [format!("long/{n}~1"), format!("long/{n}~2")]);
        found.retain(|path, _| !path.starts_with("long/"));
        assert_eq!(found, expected);
    }
}

#[test]
fn the_kernel_mounts_it_both_ways() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (scratch, tree) = (tempfile::tempdir().unwrap(), odd());
    let file = scratch.path().join("disk.iso");
    std::fs::write(&file, iso("cidata", &tree).unwrap()).unwrap();
    for options in ["loop,ro", "loop,ro,norock,iocharset=utf8"] {
        let out = scratch.path().join("out");
        let _ = std::fs::create_dir(&out);
        let mounted =
            Command::new("mount").args(["-t", "iso9660", "-o", options]).args([&file, &out]).output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            // No loop devices here, as in most containers.
            return;
        }
        let mut found = read_tree(&out);
        assert!(Command::new("umount").arg(&out).status().unwrap().success());
        let mut expected = tree.clone();
        if options.contains("norock") {
            found.retain(|path, _| !path.starts_with("long/"));
            expected.retain(|path, _| !path.starts_with("long/"));
        }
        assert_eq!(found, expected, "{options}");
    }
}

#[test]
fn an_answer_file_is_where_windows_looks_for_it() {
    let answers = files(&[("Autounattend.xml", b"<unattend/>"), ("Unattend.xml", b"<unattend/>")]);
    let image = iso("unattendCD", &answers).unwrap();
    if has("bsdtar") {
        let arguments = ["-x", "-C", "OUT", "-f", "FILE", "--options", "!rockridge"];
        assert_eq!(extracted("bsdtar", &arguments, &image), answers);
    }
}

#[test]
fn labels_stand_in_both_descriptors() {
    let image = iso("config-2", &files(&[("a", b"b")])).unwrap();
    assert_eq!(&image[16 * 2048 + 40..][..32], b"config-2                        ");
    let wide: Vec<u8> = "config-2        ".encode_utf16().flat_map(u16::to_be_bytes).collect();
    assert_eq!(&image[17 * 2048 + 40..][..32], wide);
    assert_eq!(image.len() % 2048, 0);
    let sectors = u32::from_le_bytes(image[16 * 2048 + 80..][..4].try_into().unwrap());
    assert_eq!(sectors as usize * 2048, image.len());
}

#[test]
fn what_does_not_fit_is_refused() {
    let one = |path: &str| build("x", &[File { path, content: b"" }]).map(drop);
    for path in ["", "/a", "a/", "a//b", ".", "../a", "a/b/c/d/e/f/g/h/i", &"a".repeat(129), "a\0b"] {
        assert_eq!(one(path), Err(InvalidFiles::Path(path.to_owned())), "{path}");
    }
    let twice =
        |a, b| build("x", &[File { path: a, content: b"" }, File { path: b, content: b"" }]).map(drop);
    for (a, b) in [("a", "a"), ("a", "a/b"), ("a/b", "a")] {
        assert_eq!(twice(a, b), Err(InvalidFiles::Twice(b.to_owned())));
    }
    for label in ["", "\u{e4}", "a\n", &"x".repeat(33)] {
        assert_eq!(build(label, &[]).map(drop), Err(InvalidFiles::Label));
    }
    let large = vec![0; 64 << 20];
    assert_eq!(build("x", &[File { path: "a", content: &large }]).map(drop), Err(InvalidFiles::TooLarge));
}

#[test]
fn no_files_are_an_empty_disk() {
    let image = build("empty", &[]).unwrap();
    if has("bsdtar") {
        assert!(extracted("bsdtar", &["-x", "-C", "OUT", "-f", "FILE"], &image).is_empty());
    }
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z.-]{1,14}", "[A-Za-z0-9_ .-]{1,80}", "[\u{e4}\u{3b1}\u{4e2d}\u{1f600}a.]{1,30}",]
        .prop_filter("names of the file system", |name| name != "." && name != "..")
}

fn tree() -> impl Strategy<Value = BTreeMap<String, Vec<u8>>> {
    let path = proptest::collection::vec(name(), 1..5).prop_map(|names| names.join("/"));
    let content = proptest::collection::vec(any::<u8>(), 0..3000);
    proptest::collection::btree_map(path, content, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_files_come_back(files in tree()) {
        match iso("any", &files) {
            Ok(image) => {
                prop_assert_eq!(&image, &iso("any", &files).unwrap());
                if has("bsdtar") {
                    let found = extracted("bsdtar", &["-x", "-C", "OUT", "-f", "FILE", "--options", "!joliet"], &image);
                    prop_assert_eq!(found, files);
                }
            }
            Err(InvalidFiles::Twice(_)) => {
                let below = |a: &String, b: &String| b.starts_with(&format!("{a}/"));
                prop_assert!(files.keys().any(|a| files.keys().any(|b| below(a, b))));
            }
            Err(InvalidFiles::Path(path)) => {
                prop_assert!(path.split('/').any(|name| name.len() > 128));
            }
            Err(error) => prop_assert!(false, "{error}"),
        }
    }
}
