//! The life of machines under a real QEMU, without an operating system.

mod support;

use serde_json::json;
use support::{Place, next, qemu_is_installed, rest, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use witvirt_hypervisor::{ErrorKind, Exit, Hypervisor, InstanceEvent};

fn orderly(event: Option<&InstanceEvent>) -> bool {
    matches!(event, Some(InstanceEvent::Exited(Exit { orderly: true, signal: None, .. })))
}

#[tokio::test]
async fn pauses_resumes_resets_and_ends() {
    if !qemu_is_installed() {
        return;
    }
    let place = Place::new();
    let mut started = place.driver().start(place.launch("a", json!({}), vec![])).await.unwrap();
    let instance = started.instance.clone();
    let record = instance.record();
    assert_eq!((record.driver.as_str(), record.accelerator.as_str()), ("qemu", "tcg"));
    assert!(instance.running().await.unwrap());
    instance.pause().await.unwrap();
    assert!(!instance.running().await.unwrap());
    instance.resume().await.unwrap();
    instance.reset().await.unwrap();
    instance.powerdown().await.unwrap();
    instance.kill().await.unwrap();
    instance.kill().await.unwrap();
    let events = rest(&mut started.events).await;
    let seen: Vec<_> = events.iter().filter(|event| !matches!(event, InstanceEvent::Exited(_))).collect();
    let expected = [
        &InstanceEvent::Paused { reason: None },
        &InstanceEvent::Resumed,
        &InstanceEvent::Reset { by_guest: false },
        &InstanceEvent::Shutdown { by_guest: false },
    ];
    assert_eq!(seen, expected);
    assert!(orderly(events.last()), "{events:?}");
    assert!(!place.path("a/run/monitor.sock").exists());
    assert!(instance.pause().await.is_err());
}

#[tokio::test]
async fn console_goes_both_ways_and_into_the_log() {
    if !qemu_is_installed() {
        return;
    }
    let place = Place::new();
    let mut started = place.driver().start(place.echo("a")).await.unwrap();
    until("the boot sector prints", || place.log("a").ends_with('R')).await;

    let mut console = started.instance.console().await.unwrap();
    let mut echo = [0; 3];
    console.write_all(b"abc").await.unwrap();
    console.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"bcd");

    let mut newer = started.instance.console().await.unwrap();
    assert_eq!(console.read(&mut echo).await.unwrap_or(0), 0, "the older connection ends");
    newer.write_all(b"x").await.unwrap();
    newer.read_exact(&mut echo[..1]).await.unwrap();
    assert_eq!(echo[0], b'y');
    assert!(place.log("a").ends_with("Rbcdy"));

    newer.write_all(b"r").await.unwrap();
    until("the guest has reset itself", || place.log("a").ends_with('R')).await;
    newer.write_all(b"q").await.unwrap();
    let events = rest(&mut started.events).await;
    assert!(events.contains(&InstanceEvent::Reset { by_guest: true }), "{events:?}");
    assert!(events.contains(&InstanceEvent::Shutdown { by_guest: true }), "{events:?}");
    assert!(orderly(events.last()), "{events:?}");
}

#[tokio::test]
async fn a_killed_process_is_a_disorderly_end() {
    if !qemu_is_installed() {
        return;
    }
    let place = Place::new();
    let mut started = place.driver().start(place.launch("a", json!({}), vec![])).await.unwrap();
    let pid = rustix::process::Pid::from_raw(started.instance.record().pid.unwrap() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let events = rest(&mut started.events).await;
    let expected = Exit { orderly: false, code: None, signal: Some(9), stderr: String::new() };
    assert_eq!(events.last(), Some(&InstanceEvent::Exited(expected)));
    started.instance.kill().await.unwrap();
}

#[tokio::test]
async fn a_failed_start_says_why_and_leaves_nothing() {
    if !qemu_is_installed() {
        return;
    }
    let place = Place::new();
    let launch = place.launch("a", json!({ "cpu": { "model": { "named": "nonsense" } } }), vec![]);
    let error = place.driver().start(launch).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Start);
    assert!(error.message.contains("unable to find CPU model 'nonsense'"), "{error}");
    let left: Vec<_> =
        std::fs::read_dir(place.path("a/run")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name == "stderr" || name == "arguments.json"), "{left:?}");

    let mut options = place.options();
    options.binary = "/nonexistent/qemu".into();
    let driver = witvirt_hypervisor::Qemu::new(options);
    let error = driver.start(place.launch("b", json!({}), vec![])).await.err().unwrap();
    assert!(error.message.contains("is not there; install"), "{error}");
}

#[tokio::test]
async fn another_driver_adopts_and_the_first_may_be_gone() {
    if !qemu_is_installed() {
        return;
    }
    let place = Place::new();
    let first = place.driver().start(place.echo("a")).await.unwrap();
    until("the boot sector prints", || place.log("a").ends_with('R')).await;
    let record = first.instance.record();
    drop(first);

    let found = place.driver().find(&record.run_dir).await.unwrap().unwrap();
    assert_eq!((found.pid, found.start_time), (record.pid, record.start_time));

    // One monitor connection at a time: the first driver's watcher has to let go, as a dead daemon does.
    let record_of_another_boot =
        witvirt_hypervisor::InstanceRecord { boot_id: "x".to_owned(), ..record.clone() };
    assert!(place.driver().adopt(&record_of_another_boot).await.unwrap().is_none());
    let reused = witvirt_hypervisor::InstanceRecord { start_time: Some(1), ..record.clone() };
    assert!(place.driver().adopt(&reused).await.unwrap().is_none());
}

#[tokio::test]
async fn events_are_seen_in_order() {
    if !qemu_is_installed() {
        return;
    }
    let place = Place::new();
    let mut started = place.driver().start(place.launch("a", json!({}), vec![])).await.unwrap();
    started.instance.kill().await.unwrap();
    assert_eq!(next(&mut started.events).await, Some(InstanceEvent::Shutdown { by_guest: false }));
    assert!(orderly(next(&mut started.events).await.as_ref()));
    assert_eq!(next(&mut started.events).await, None);
}
