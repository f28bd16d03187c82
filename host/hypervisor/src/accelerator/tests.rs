use super::probe::Outcome;
use super::{Acceleration, Accelerator, User, Verdict, choose};

fn judge(outcome: Outcome, pvm: bool) -> Verdict {
    Verdict::judge("boot".to_owned(), outcome, pvm)
}

#[test]
fn judges_by_speed() {
    let slow = judge(Outcome::Ran { instructions_per_second: 1_700_000 }, true);
    assert!(!slow.usable);
    let expected = "/dev/kvm opens, but a vCPU runs only 1.7 million instructions a second, 100 are wanted \
                    (kvm_pvm: only guests made for it run at full speed)";
    assert_eq!(slow.reason, expected);
    let fast = judge(Outcome::Ran { instructions_per_second: 5_900_000_000 }, false);
    assert!(fast.usable);
    assert_eq!(fast.reason, "a vCPU runs 5900 million instructions a second");
    assert!(!judge(Outcome::Unavailable("No such file or directory (os error 2)".to_owned()), false).usable);
    assert!(!judge(Outcome::Failed("it cannot run a vCPU".to_owned()), false).usable);
}

#[test]
fn verdict_is_kept_for_this_boot_only() {
    let dir = tempfile::tempdir().unwrap();
    let first = Verdict::of_this_boot(dir.path()).unwrap();
    println!("here: {}", first.reason);
    let path = dir.path().join("kvm.json");
    let kept: Verdict = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(kept, first);

    let marked = Verdict { reason: "kept".to_owned(), instructions_per_second: Some(1), ..first.clone() };
    std::fs::write(&path, serde_json::to_vec(&marked).unwrap()).unwrap();
    assert_eq!(Verdict::of_this_boot(dir.path()).unwrap().reason, "kept");

    let other_boot = Verdict { boot_id: "another".to_owned(), ..marked };
    std::fs::write(&path, serde_json::to_vec(&other_boot).unwrap()).unwrap();
    assert_ne!(Verdict::of_this_boot(dir.path()).unwrap().reason, "kept");

    std::fs::write(&path, b"{ half").unwrap();
    assert_eq!(Verdict::of_this_boot(dir.path()).unwrap().boot_id, first.boot_id);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn kvm_fails_clearly_where_auto_falls_back() {
    let dir = tempfile::tempdir().unwrap();
    let verdict = Verdict::of_this_boot(dir.path()).unwrap();
    let unusable =
        Verdict { usable: false, reason: "no luck".to_owned(), instructions_per_second: Some(9), ..verdict };
    std::fs::write(dir.path().join("kvm.json"), serde_json::to_vec(&unusable).unwrap()).unwrap();
    let error = choose(Acceleration::Kvm, dir.path(), None).unwrap_err();
    assert_eq!(error.to_string(), "accel = \"kvm\", but no luck; use \"auto\" or \"tcg\"");
    let auto = choose(Acceleration::Auto, dir.path(), None).unwrap();
    assert_eq!(auto, (Accelerator::Tcg, "no luck".to_owned()));
    let tcg = choose(Acceleration::Tcg, dir.path(), None).unwrap();
    assert_eq!(tcg, (Accelerator::Tcg, "configured".to_owned()));
}

#[test]
fn permission_bits() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    let file = tempfile::NamedTempFile::new().unwrap();
    let may = |mode: u32, user: User| {
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        super::may(&std::fs::metadata(file.path()).unwrap(), user, 0o4)
    };
    let metadata = std::fs::metadata(file.path()).unwrap();
    let (owner, stranger) = (User { uid: metadata.uid(), gid: 65533 }, User { uid: 65533, gid: 65533 });
    assert!(may(0o400, owner));
    assert!(!may(0o044, owner), "the owner's bits alone count for the owner");
    assert!(!may(0o440, stranger));
    assert!(may(0o004, stranger));
}
