use std::fs::OpenOptions;
use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use witvirt_core::Name;
use witvirt_core::spec::MachineSpec;

use super::{Fault, Null};
use crate::{Exit, Hypervisor, InstanceEvent, Launch, Started};

fn launch(dir: &Path, name: &str) -> Launch {
    let spec: MachineSpec =
        serde_json::from_value(serde_json::json!({ "name": name, "memory": "16MiB" })).unwrap();
    Launch {
        name: Name::new(name).unwrap(),
        spec,
        run_dir: dir.to_owned(),
        console_log: OpenOptions::new().append(true).create(true).open(dir.join("console")).unwrap(),
        disks: Vec::new(),
        kernel: None,
        initrd: None,
        firmware_code: None,
        firmware_vars: None,
        tpm_state: None,
    }
}

fn exit(orderly: bool, signal: Option<i32>) -> Exit {
    let stderr = signal.map(|signal| format!("simulated crash by signal {signal}")).unwrap_or_default();
    Exit { orderly, code: orderly.then_some(0), signal, stderr }
}

async fn rest(mut started: Started) -> Vec<InstanceEvent> {
    let mut events = Vec::new();
    while let Some(event) = started.events.recv().await {
        events.push(event);
    }
    events
}

#[tokio::test]
async fn power_button_ends_it_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let started = Null::new().start(launch(dir.path(), "a")).await.unwrap();
    assert!(started.instance.running().await.unwrap());
    started.instance.powerdown().await.unwrap();
    let expected = [InstanceEvent::Shutdown { by_guest: true }, InstanceEvent::Exited(exit(true, None))];
    assert_eq!(rest(started).await, expected);
}

#[tokio::test]
async fn paused_machine_sees_the_button_when_it_runs_again() {
    let dir = tempfile::tempdir().unwrap();
    let started = Null::new().start(launch(dir.path(), "a")).await.unwrap();
    started.instance.pause().await.unwrap();
    started.instance.powerdown().await.unwrap();
    assert!(!started.instance.running().await.unwrap());
    started.instance.resume().await.unwrap();
    let expected = [
        InstanceEvent::Paused { reason: None },
        InstanceEvent::Resumed,
        InstanceEvent::Shutdown { by_guest: true },
        InstanceEvent::Exited(exit(true, None)),
    ];
    assert_eq!(rest(started).await, expected);
}

#[tokio::test]
async fn kill_is_idempotent_and_ends_a_hung_guest() {
    let dir = tempfile::tempdir().unwrap();
    let null = Null::new();
    let started = null.start(launch(dir.path(), "a")).await.unwrap();
    null.simulate(&Name::new("a").unwrap(), Fault::Hang).await.unwrap();
    started.instance.powerdown().await.unwrap();
    assert!(started.instance.running().await.unwrap());
    started.instance.kill().await.unwrap();
    started.instance.kill().await.unwrap();
    let expected = [InstanceEvent::Shutdown { by_guest: false }, InstanceEvent::Exited(exit(true, None))];
    assert_eq!(rest(started).await, expected);
}

#[tokio::test]
async fn faults_are_reported_as_a_hypervisor_would() {
    let dir = tempfile::tempdir().unwrap();
    let (null, name) = (Null::new(), Name::new("a").unwrap());
    let started = null.start(launch(dir.path(), "a")).await.unwrap();
    let full = Fault::Pause { reason: "disk full".to_owned() };
    for fault in [full, Fault::GuestPanic, Fault::GuestReset, Fault::Crash { signal: 11 }] {
        null.simulate(&name, fault).await.unwrap();
    }
    let expected = [
        InstanceEvent::Paused { reason: Some("disk full".to_owned()) },
        InstanceEvent::Panicked,
        InstanceEvent::Reset { by_guest: true },
        InstanceEvent::Exited(exit(false, Some(11))),
    ];
    assert_eq!(rest(started).await, expected);
    assert!(null.simulate(&name, Fault::Hang).await.is_err());
}

#[tokio::test]
async fn console_echoes_and_the_newer_holder_wins() {
    let dir = tempfile::tempdir().unwrap();
    let started = Null::new().start(launch(dir.path(), "a")).await.unwrap();
    let mut first = started.instance.console().await.unwrap();
    first.write_all(b"one").await.unwrap();
    let mut echo = [0; 3];
    first.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"one");
    let mut second = started.instance.console().await.unwrap();
    assert_eq!(first.read(&mut echo).await.unwrap(), 0, "the older holder is told");
    second.write_all(b"two").await.unwrap();
    second.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"two");
    let log = std::fs::read_to_string(dir.path().join("console")).unwrap();
    assert_eq!(log, "witvirt null machine a: nothing runs here, input is echoed\r\nonetwo");
}

#[tokio::test]
async fn refuses_when_told_to_and_never_adopts() {
    let dir = tempfile::tempdir().unwrap();
    let null = Null::new();
    null.simulate_start_failure("no luck");
    let error = null.start(launch(dir.path(), "a")).await.err().unwrap();
    assert_eq!(error.to_string(), "no luck");
    let started = null.start(launch(dir.path(), "a")).await.unwrap();
    assert!(null.adopt(&started.instance.record()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_thousand_machines_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let null = Null::new();
    let mut machines = Vec::new();
    for index in 0..1000 {
        machines.push(null.start(launch(dir.path(), &format!("m{index}"))).await.unwrap());
    }
    for started in machines {
        started.instance.kill().await.unwrap();
        assert_eq!(rest(started).await.len(), 2);
    }
    let last = null.start(launch(dir.path(), "last")).await.unwrap();
    assert_eq!(super::lock(&null.machines).len(), 1, "names of ended machines are forgotten");
    drop(last);
}
