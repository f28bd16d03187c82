use witvirt_core::Name;
use witvirt_core::spec::RunStrategy;

use super::{SCHEMA, SpecFile, StateFile, Storage};
use crate::error::ErrorKind;
use crate::state::Machine;
use crate::time::Timestamp;

fn spec(name: &str) -> SpecFile {
    let spec = serde_json::from_value(serde_json::json!({ "name": name, "memory": "16MiB" })).unwrap();
    SpecFile { schema: SCHEMA, created: Timestamp::from_millis(7), created_by: "a test".to_owned(), spec }
}

fn state() -> StateFile {
    let machine = Machine::new(Timestamp::from_millis(7), RunStrategy::Manual);
    StateFile { schema: SCHEMA, machine, console_start: 0, instance: None }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

#[test]
fn second_daemon_is_refused_with_the_pid_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let first = Storage::open(dir.path()).unwrap();
    let error = Storage::open(dir.path()).err().unwrap();
    assert_eq!(error.kind, ErrorKind::Locked);
    assert!(error.to_string().contains(&format!("process id {}", std::process::id())), "{error}");
    drop(first);
    Storage::open(dir.path()).unwrap();
}

#[test]
fn keeps_what_it_is_given_and_deletes_what_it_is_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(dir.path()).unwrap();
    let machine = storage.create(&spec("web"), &state()).unwrap();
    assert_eq!(machine.spec().unwrap().spec, spec("web").spec);
    let again = storage.create(&spec("web"), &state()).err().unwrap();
    assert_eq!(again.kind, ErrorKind::Exists);
    let mut changed = state();
    changed.console_start = 42;
    machine.write_state(&changed).unwrap();
    assert_eq!(storage.machine(&name("web")).unwrap().state().unwrap().console_start, 42);
    assert_eq!(storage.list().unwrap(), [name("web")]);
    storage.remove(&name("web")).unwrap();
    storage.remove(&name("web")).unwrap();
    assert_eq!(std::fs::read_dir(dir.path().join("machines")).unwrap().count(), 0);
}

#[test]
fn what_was_half_done_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    drop(Storage::open(dir.path()).unwrap());
    for leftover in [".new-web-0", ".gone-web-3"] {
        std::fs::create_dir_all(dir.path().join("machines").join(leftover).join("overlays")).unwrap();
    }
    let storage = Storage::open(dir.path()).unwrap();
    assert_eq!(storage.list().unwrap(), []);
    assert_eq!(std::fs::read_dir(dir.path().join("machines")).unwrap().count(), 0);
}

#[test]
fn unreadable_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::open(dir.path()).unwrap();
    let machine = storage.create(&spec("web"), &state()).unwrap();
    let path = dir.path().join("machines/web/state.json");
    let whole = std::fs::read(&path).unwrap();
    for length in 0..whole.len() - 1 {
        std::fs::write(&path, &whole[..length]).unwrap();
        // The last byte is a newline, and JSON is whole without it.
        let error = machine.state().err().unwrap();
        assert_eq!(error.kind, ErrorKind::Broken, "cut after {length} bytes");
        assert!(error.to_string().contains("machines/web/state.json"), "{error}");
    }
    std::fs::write(&path, br#"{"schema": 2, "invented-later": true}"#).unwrap();
    let error = machine.state().err().unwrap();
    assert!(error.to_string().contains("schema 2"), "{error}");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    assert_eq!(machine.state().err().unwrap().kind, ErrorKind::Broken, "no link is followed");
}
