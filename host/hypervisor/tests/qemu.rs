//! The life of machines under a real QEMU, without an operating system.

mod support;

use serde_json::json;
use support::{Place, next, qemu_is_installed, rest, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use witvirt_hypervisor::{ErrorKind, Exit, Hypervisor, InstanceEvent, InstanceRecord};

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
    // QEMU sends before it logs.
    until("all of it is logged", || place.log("a").ends_with("Rbcdy")).await;

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

/// Runs a driver as a daemon of its own that dies with its runtime.
fn in_another_daemon<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let daemon = std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let result = runtime.block_on(work);
        runtime.shutdown_background();
        result
    });
    daemon.join().unwrap()
}

#[tokio::test]
async fn the_next_daemon_adopts_what_the_last_one_started() {
    if !qemu_is_installed() {
        return;
    }
    let place = Place::new();
    let (driver, launch) = (place.driver(), place.echo("a"));
    let record = in_another_daemon(async move { driver.start(launch).await.unwrap().instance.record() });
    // Nobody watches; the guest's words are kept all the same.
    until("the boot sector prints", || place.log("a").ends_with('R')).await;

    let driver = place.driver();
    let found = driver.find(&record.run_dir).await.unwrap().unwrap();
    assert_eq!((found.pid, found.start_time, &found.cgroup), (record.pid, record.start_time, &record.cgroup));
    let other_boot = InstanceRecord { boot_id: "x".to_owned(), ..record.clone() };
    assert!(driver.adopt(&other_boot).await.unwrap().is_none());
    let reused = InstanceRecord { start_time: Some(1), ..record.clone() };
    assert!(driver.adopt(&reused).await.unwrap().is_none());

    let mut adopted = driver.adopt(&found).await.unwrap().unwrap();
    assert_eq!(adopted.instance.record(), record);
    assert!(adopted.instance.running().await.unwrap());
    let mut console = adopted.instance.console().await.unwrap();
    console.write_all(b"a").await.unwrap();
    let mut echo = [0];
    console.read_exact(&mut echo).await.unwrap();
    assert_eq!(echo[0], b'b');
    until("it is logged", || place.log("a").ends_with("Rb")).await;
    console.write_all(b"q").await.unwrap();
    let events = rest(&mut adopted.events).await;
    assert_eq!(events.first(), Some(&InstanceEvent::Shutdown { by_guest: true }));
    assert!(orderly(events.last()), "{events:?}");
    assert!(driver.adopt(&record).await.unwrap().is_none());
    assert!(driver.find(&record.run_dir).await.unwrap().is_none());
}

#[tokio::test]
async fn unplugged_interfaces_start() {
    if !qemu_is_installed() {
        return;
    }
    let place = Place::new();
    let fields = json!({ "interfaces": [{ "link": false }, { "source": "none" }] });
    let mut started = place.driver().start(place.launch("a", fields, vec![])).await.unwrap();
    started.instance.kill().await.unwrap();
    assert!(orderly(rest(&mut started.events).await.last()));
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
