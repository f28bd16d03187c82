use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{AllowedDirs, open_beneath, open_by_parts};
use crate::error::ErrorKind;

fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("allowed/sub")).unwrap();
    fs::create_dir(dir.path().join("outside")).unwrap();
    fs::write(dir.path().join("outside/secret"), "canary").unwrap();
    fs::write(dir.path().join("allowed/sub/image"), "bytes").unwrap();
    symlink(dir.path().join("outside/secret"), dir.path().join("allowed/link")).unwrap();
    symlink(dir.path().join("outside"), dir.path().join("allowed/linked-dir")).unwrap();
    symlink("sub", dir.path().join("allowed/inner-link")).unwrap();
    let fifo = dir.path().join("allowed/fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o600), 0)
        .unwrap();
    dir
}

#[test]
fn opens_files_below_the_allowed_directories_only() {
    let dir = tree();
    let allowed = AllowedDirs::new([dir.path().join("allowed")]).unwrap();
    let located = allowed.open(&dir.path().join("allowed/sub/image")).unwrap();
    assert_eq!(located.source.size(), 5);
    assert_eq!(located.sibling("base"), dir.path().join("allowed/sub/base"));
    for (path, kind, word) in [
        ("outside/secret", ErrorKind::Denied, "outside the allowed directories"),
        ("allowed/../outside/secret", ErrorKind::Denied, "\"..\""),
        ("allowed/link", ErrorKind::Denied, "symbolic link"),
        ("allowed/linked-dir/secret", ErrorKind::Denied, "symbolic link"),
        ("allowed/inner-link/image", ErrorKind::Denied, "symbolic link"),
        ("allowed/fifo", ErrorKind::Denied, "FIFO"),
        ("allowed/sub", ErrorKind::Denied, "directory"),
        ("allowed", ErrorKind::Denied, "directory"),
        ("allowed/none", ErrorKind::NotFound, "cannot open"),
    ] {
        let error = allowed.open(&dir.path().join(path)).unwrap_err();
        assert_eq!(error.kind(), kind, "{path}: {error}");
        assert!(error.to_string().contains(word), "{path}: {error}");
    }
    let error = allowed.open(Path::new("/dev/zero")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    let error = AllowedDirs::new(["/dev"]).unwrap().open(Path::new("/dev/zero")).unwrap_err();
    assert!(error.to_string().contains("character device"), "{error}");
    assert_eq!(allowed.open(Path::new("relative")).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn the_fallback_refuses_what_openat2_refuses() {
    let dir = tree();
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let root = rustix::fs::open(dir.path().join("allowed"), OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
        .unwrap();
    for path in [
        "link",
        "linked-dir/secret",
        "inner-link/image",
        "../outside/secret",
        "none",
        "sub/image",
        "sub",
        "fifo",
    ] {
        for flags in [flags, OFlags::PATH | OFlags::CLOEXEC] {
            let kernel = open_beneath(root.as_fd(), Path::new(path), flags).map(drop);
            let parts = open_by_parts(root.as_fd(), Path::new(path), flags).map(drop);
            assert_eq!(kernel, parts, "{path}");
        }
    }
    assert_eq!(open_by_parts(root.as_fd(), Path::new("../outside"), flags).map(drop), Err(Errno::XDEV));
}
