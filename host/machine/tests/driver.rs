//! Machines on the null driver.

mod support;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use support::{PATIENCE, Place, create, log, name, spec, state};
use witvirt_hypervisor::null::Fault;
use witvirt_machine::{
    Condition, ConsoleFrom, ErrorKind, EventKind, LogQuery, Machines, SessionEvent, State,
};

const BANNER: &str = "witvirt null machine web: nothing runs here, input is echoed\r\n";

#[tokio::test]
async fn a_life() {
    let place = Place::new();
    let machines = place.open().await;
    let mut events = machines.events();
    let web = create(&machines, "web", json!({})).await;
    assert_eq!(state(&machines, &web), State::Defined);
    machines.start(&web).await.unwrap();
    let status = machines.get(&web).unwrap();
    assert_eq!((status.state, status.accelerator.as_deref()), (State::Running, Some("null")));
    assert!(status.uptime.is_some());
    machines.pause(&web).await.unwrap();
    assert_eq!(state(&machines, &web), State::Paused);
    machines.resume(&web).await.unwrap();
    machines.restart(&web, None).await.unwrap();
    assert_eq!(state(&machines, &web), State::Running);
    machines.stop(&web, None).await.unwrap();
    let status = machines.get(&web).unwrap();
    assert_eq!((status.state, status.accelerator, status.uptime), (State::Stopped, None, None));
    assert!(status.exit.unwrap().orderly);
    assert_eq!(log(&machines, &web).await, BANNER.repeat(2));
    machines.remove(&web, false).await.unwrap();
    assert_eq!(machines.get(&web).unwrap_err().kind, ErrorKind::NotFound);
    let mut kinds = Vec::new();
    while let Ok(event) = events.try_recv() {
        kinds.push(event.kind);
    }
    use EventKind::*;
    let expected = [
        Created, Starting, Started, Paused, Resumed, Stopping, Shutdown, Stopped, Starting, Started,
        Stopping, Shutdown, Stopped, Removed,
    ];
    assert_eq!(kinds, expected);
}

#[tokio::test]
async fn refusals_name_the_machine_and_the_remedy() {
    let place = Place::new();
    let machines = place.open().await;
    let web = create(&machines, "web", json!({})).await;
    let error = machines.pause(&web).await.unwrap_err();
    assert_eq!(
        (error.kind, error.to_string().as_str()),
        (ErrorKind::Refused, "machine web is defined: start it first")
    );
    assert_eq!(machines.console(&web, ConsoleFrom::Now).await.err().unwrap().kind, ErrorKind::Refused);
    machines.start(&web).await.unwrap();
    assert_eq!(machines.start(&web).await.unwrap_err().to_string(), "machine web is running already");
    assert_eq!(machines.remove(&web, false).await.unwrap_err().kind, ErrorKind::Refused);
    let twice = machines.create(spec("web", json!({})), "a test").await.unwrap_err();
    assert_eq!(twice.kind, ErrorKind::Exists);
    let wrong = machines.create(spec("other", json!({ "cpu": { "count": 0 } })), "a test").await.unwrap_err();
    assert_eq!(wrong.kind, ErrorKind::Invalid);
    assert!(wrong.to_string().contains("cpu.count"), "{wrong}");
    assert_eq!(machines.list().len(), 1);
    machines.remove(&web, true).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn crashes_are_followed_by_restarts_until_a_stop() {
    let place = Place::new();
    let machines = place.open().await;
    let web = create(&machines, "web", json!({ "restart": "on-failure" })).await;
    machines.start(&web).await.unwrap();
    for restarts in 1..=4 {
        place.null.simulate(&web, Fault::Crash { signal: 11 }).await.unwrap();
        until(&machines, |status| status.restarts == restarts && status.state == State::Running).await;
    }
    place.null.simulate(&web, Fault::Crash { signal: 11 }).await.unwrap();
    let status = until(&machines, |status| status.state == State::Crashed).await;
    assert_eq!(status.exit.as_ref().unwrap().signal, Some(11));
    let pause = status.next_restart.unwrap().since(status.since);
    assert_eq!(pause, Duration::from_secs(16));
    machines.stop(&web, None).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let status = machines.get(&web).unwrap();
    assert_eq!((status.state, status.next_restart, status.restarts), (State::Crashed, None, 4));
}

#[tokio::test(start_paused = true)]
async fn guest_that_ignores_the_button_is_killed_in_time() {
    let place = Place::new();
    let machines = place.open().await;
    let web = create(&machines, "web", json!({ "stop-timeout": 20 })).await;
    machines.start(&web).await.unwrap();
    place.null.simulate(&web, Fault::Hang).await.unwrap();
    let begun = tokio::time::Instant::now();
    let mut events = machines.events();
    machines.stop(&web, None).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(20), "{:?}", begun.elapsed());
    let mut killed = 0;
    while let Ok(event) = events.try_recv() {
        killed += usize::from(event.kind == EventKind::Killed);
    }
    assert_eq!(killed, 1);
    assert_eq!(state(&machines, &web), State::Stopped);
}

#[tokio::test]
async fn failed_start_is_told_to_who_asked() {
    let place = Place::new();
    let machines = place.open().await;
    let web = create(&machines, "web", json!({})).await;
    place.null.simulate_start_failure("no such accelerator");
    let error = machines.start(&web).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Hypervisor);
    assert!(error.to_string().contains("no such accelerator"), "{error}");
    assert_eq!(state(&machines, &web), State::Crashed);
    let kernel = create(&machines, "kernel", json!({ "boot": { "kernel": "/nonexistent/vmlinuz" } })).await;
    let error = machines.start(&kernel).await.unwrap_err();
    assert!(error.to_string().contains("/nonexistent/vmlinuz"), "{error}");
    machines.start(&web).await.unwrap();
}

#[tokio::test]
async fn machine_paused_by_a_full_disk_says_why() {
    let place = Place::new();
    let machines = place.open().await;
    let web = create(&machines, "web", json!({})).await;
    machines.start(&web).await.unwrap();
    place.null.simulate(&web, Fault::Pause { reason: "no space left".to_owned() }).await.unwrap();
    let status = machines.wait(&web, Condition::Paused, Some(PATIENCE)).await.unwrap().unwrap();
    assert_eq!(status.reason.as_deref(), Some("no space left"));
    machines.stop(&web, None).await.unwrap();
}

#[tokio::test]
async fn half_a_state_file_breaks_only_its_machine() {
    let place = Place::new();
    let machines = place.open().await;
    for machine in ["a", "b", "c"] {
        create(&machines, machine, json!({})).await;
    }
    machines.close().await;
    let path = place.file("b", "state.json");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let machines = place.open().await;
    let states: Vec<_> =
        machines.list().into_iter().map(|status| (status.name.to_string(), status.state)).collect();
    let expected = [("a", State::Defined), ("b", State::Broken), ("c", State::Defined)];
    assert_eq!(states, expected.map(|(name, state)| (name.to_owned(), state)));
    let reason = machines.get(&name("b")).unwrap().reason.unwrap();
    assert!(reason.contains("machines/b/state.json") && reason.contains("EOF"), "{reason}");
    machines.start(&name("a")).await.unwrap();
    assert_eq!(machines.start(&name("b")).await.unwrap_err().kind, ErrorKind::Broken);
    assert_eq!(machines.remove(&name("b"), false).await.unwrap_err().kind, ErrorKind::Broken);
    machines.remove(&name("b"), true).await.unwrap();
    assert!(!place.file("b", "").exists());
    assert_eq!(machines.list().len(), 2);
}

#[tokio::test]
async fn second_daemon_is_refused_until_the_first_has_left() {
    let place = Place::new();
    let machines = place.open().await;
    let second = support::options(place.root.path(), place.null.clone());
    assert_eq!(Machines::open(second).await.err().unwrap().kind, ErrorKind::Locked);
    machines.close().await;
    place.open().await;
}

#[tokio::test(start_paused = true)]
async fn what_ran_when_the_daemon_ended_is_a_crash_and_the_policy_is_obeyed() {
    let place = Place::new();
    let machines = place.open().await;
    let web = create(&machines, "web", json!({ "restart": "always" })).await;
    let other = create(&machines, "other", json!({})).await;
    machines.start(&web).await.unwrap();
    machines.start(&other).await.unwrap();
    machines.close().await;
    // Null machines do not outlive their daemon.
    let machines = place.open().await;
    let status = machines.get(&other).unwrap();
    assert_eq!((status.state, status.next_restart), (State::Crashed, None));
    assert_eq!(status.exit.unwrap().message, "it ended while no daemon watched");
    until(&machines, |status| status.state == State::Running).await;
    assert_eq!(machines.get(&web).unwrap().restarts, 1);
    assert_eq!(log(&machines, &web).await, BANNER.repeat(2), "history is whole");
}

#[tokio::test]
async fn newer_console_wins_and_the_older_is_told() {
    let place = Place::new();
    let machines = place.open().await;
    let web = create(&machines, "web", json!({})).await;
    machines.start(&web).await.unwrap();
    let mut first = machines.console(&web, ConsoleFrom::Boot).await.unwrap();
    first.input.send(b"one".to_vec()).await.unwrap();
    expect(&mut first, &format!("{BANNER}one")).await;
    let mut second = machines.console(&web, ConsoleFrom::Now).await.unwrap();
    assert_eq!(first.output.next().await.unwrap(), Some(SessionEvent::TakenOver));
    assert_eq!(first.output.next().await.unwrap(), None);
    assert_eq!(first.input.send(b"x".to_vec()).await.unwrap_err().kind, ErrorKind::Closed);
    second.input.send(b"two".to_vec()).await.unwrap();
    expect(&mut second, "two").await;
    machines.stop(&web, None).await.unwrap();
    assert_eq!(second.output.next().await.unwrap(), Some(SessionEvent::Ended));
    assert_eq!(second.output.next().await.unwrap(), None);
    assert_eq!(log(&machines, &web).await, format!("{BANNER}onetwo"));
}

#[tokio::test]
async fn followed_log_goes_over_restarts_until_the_machine_is_removed() {
    let place = Place::new();
    let machines = place.open().await;
    let web = create(&machines, "web", json!({})).await;
    let query = LogQuery { follow: true, ..LogQuery::default() };
    let mut reader = machines.logs(&web, query).await.unwrap();
    let following = tokio::spawn(async move {
        let mut bytes = Vec::new();
        while let Some(chunk) = reader.next().await.unwrap() {
            bytes.extend(chunk.bytes);
        }
        String::from_utf8(bytes).unwrap()
    });
    machines.start(&web).await.unwrap();
    machines.restart(&web, None).await.unwrap();
    machines.stop(&web, None).await.unwrap();
    let kept = log(&machines, &web).await;
    machines.remove(&web, false).await.unwrap();
    let followed = following.await.unwrap();
    assert!(kept.starts_with(&followed) && !followed.is_empty(), "{followed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_lives_from_twenty_clients_leave_nothing() {
    let place = Place::new();
    let machines = Arc::new(place.open().await);
    live(&machines, 20, 10).await;
    assert_eq!(machines.list(), []);
    assert_eq!(std::fs::read_dir(place.root.path().join("state/machines")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(place.root.path().join("run")).unwrap().count(), 0);
    let machines = Arc::into_inner(machines).unwrap();
    machines.close().await;
    assert_eq!(descriptors(), Vec::<std::path::PathBuf>::new());
}

async fn live(machines: &Arc<Machines>, clients: usize, lives: usize) {
    let mut tasks = tokio::task::JoinSet::new();
    for client in 0..clients {
        let machines = Arc::clone(machines);
        tasks.spawn(async move {
            for life in 0..lives {
                let name = create(&machines, &format!("m{client}-{life}"), json!({})).await;
                machines.start(&name).await.unwrap();
                machines.stop(&name, None).await.unwrap();
                machines.remove(&name, false).await.unwrap();
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

/// Open files of machines of this test: others of this program run at once.
fn descriptors() -> Vec<std::path::PathBuf> {
    let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let targets = links.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    targets.filter(|target| target.to_string_lossy().contains("/machines/m")).collect()
}

async fn until(
    machines: &Machines,
    holds: impl Fn(&witvirt_machine::MachineStatus) -> bool,
) -> witvirt_machine::MachineStatus {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let status = machines.get(&name("web")).unwrap();
        if holds(&status) {
            return status;
        }
        assert!(std::time::Instant::now() < deadline, "{status:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn expect(session: &mut witvirt_machine::ConsoleSession, text: &str) {
    let mut seen = String::new();
    while seen != text {
        match session.output.next().await.unwrap() {
            Some(SessionEvent::Output(chunk)) => seen.push_str(&String::from_utf8_lossy(&chunk.bytes)),
            other => panic!("{other:?} after {seen:?}"),
        }
        assert!(text.starts_with(&seen), "{seen:?}");
    }
}
