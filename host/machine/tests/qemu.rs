//! Machines that outlive their daemon, with a real QEMU.

mod support;

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use support::{Cleanup, PATIENCE, create, daemon, hypervisors, log, name, qemu, qemu_is_installed, state};
use witvirt_core::Name;
use witvirt_machine::{Condition, ConsoleFrom, Machines, SessionEvent, State};

async fn open(root: &Path) -> Machines {
    Machines::open(support::options(root, qemu(root))).await.unwrap()
}

/// Types something and waits until the console has shown `text` since the start.
async fn expect(machines: &Machines, name: &Name, typed: &str, text: &str) {
    let mut session = machines.console(name, ConsoleFrom::Boot).await.unwrap();
    session.input.send(typed.as_bytes().to_vec()).await.unwrap();
    let mut seen = String::new();
    while !seen.contains(text) {
        match tokio::time::timeout(PATIENCE, session.output.next()).await {
            Ok(Ok(Some(SessionEvent::Output(chunk)))) => {
                seen.push_str(&String::from_utf8_lossy(&chunk.bytes))
            }
            other => panic!("{other:?} after {seen:?}"),
        }
    }
}

#[test]
fn machine_outlives_its_daemons() {
    if !qemu_is_installed() {
        return;
    }
    let root = Cleanup::new();
    let web = name("web");
    let pid = daemon(async {
        let machines = open(root.path()).await;
        create(&machines, "web", json!({ "restart": "on-failure" })).await;
        machines.start(&web).await.unwrap();
        expect(&machines, &web, "", "R").await;
        expect(&machines, &web, "one", "Rone").await;
        let pid = machines.get(&web).unwrap().pid.unwrap();
        machines.close().await;
        pid
    });
    assert_eq!(hypervisors(root.path()), [pid]);
    daemon(async {
        let machines = open(root.path()).await;
        let status = machines.get(&web).unwrap();
        assert_eq!((status.state, status.pid, status.restarts), (State::Running, Some(pid), 0));
        expect(&machines, &web, "two", "Ronetwo").await;
        machines.pause(&web).await.unwrap();
        // Not closed: a daemon may also just end.
        drop(machines);
    });
    daemon(async {
        let machines = open(root.path()).await;
        assert_eq!(state(&machines, &web), State::Paused);
        machines.resume(&web).await.unwrap();
        expect(&machines, &web, "!", "Ronetwo!").await;
        kill(pid);
        let restarted = async {
            while machines.get(&web).unwrap().restarts == 0 || state(&machines, &web) != State::Running {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, restarted).await.unwrap();
        let status = machines.get(&web).unwrap();
        assert_ne!(status.pid, Some(pid));
        assert!(!status.exit.unwrap().orderly);
        expect(&machines, &web, "", "R").await;
        assert_eq!(log(&machines, &web).await, "Ronetwo!R");
        machines.remove(&web, true).await.unwrap();
        machines.close().await;
    });
    assert!(hypervisors(root.path()).is_empty());
}

#[test]
fn what_ended_while_no_daemon_watched_is_noticed() {
    if !qemu_is_installed() {
        return;
    }
    let root = Cleanup::new();
    let web = name("web");
    let pid = daemon(async {
        let machines = open(root.path()).await;
        create(&machines, "web", json!({})).await;
        machines.start(&web).await.unwrap();
        machines.get(&web).unwrap().pid.unwrap()
    });
    kill(pid);
    daemon(async {
        let machines = open(root.path()).await;
        let status = machines.wait(&web, Condition::Ended, Some(PATIENCE)).await.unwrap().unwrap();
        assert_eq!(status.state, State::Crashed);
        machines.remove(&web, false).await.unwrap();
    });
}

#[test]
fn broken_machine_that_runs_is_ended_when_it_is_removed() {
    if !qemu_is_installed() {
        return;
    }
    let root = Cleanup::new();
    let web = name("web");
    daemon(async {
        let machines = open(root.path()).await;
        create(&machines, "web", json!({})).await;
        machines.start(&web).await.unwrap();
    });
    std::fs::write(root.path().join("state/machines/web/state.json"), r#"{"schema":1,"#).unwrap();
    assert_eq!(hypervisors(root.path()).len(), 1);
    daemon(async {
        let machines = open(root.path()).await;
        assert_eq!(state(&machines, &web), State::Broken);
        machines.remove(&web, true).await.unwrap();
    });
    assert!(hypervisors(root.path()).is_empty());
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
