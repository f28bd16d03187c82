//! Daemons that are killed at any moment, and what the next one makes of it.

mod support;

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use support::{Cleanup, PATIENCE, daemon, hypervisors, name, qemu, qemu_is_installed, spec};
use witvirt_core::Name;
use witvirt_core::spec::RunStrategy;
use witvirt_hypervisor::{Hypervisor, Null};
use witvirt_machine::{ErrorKind, Machines, State};

const ROOT: &str = "WITVIRT_TEST_ROOT";
const DRIVER: &str = "WITVIRT_TEST_DRIVER";

async fn open(kind: &str, root: &Path) -> Machines {
    let hypervisor: Arc<dyn Hypervisor> = match kind {
        "qemu" => qemu(root),
        _ => Arc::new(Null::new()),
    };
    Machines::open(support::options(root, hypervisor)).await.unwrap()
}

/// Not a test by itself: the daemon that the others kill.
#[test]
fn child() {
    let (Some(root), Ok(kind)) = (std::env::var_os(ROOT).map(PathBuf::from), std::env::var(DRIVER)) else {
        return;
    };
    daemon(async {
        let machines = Arc::new(open(&kind, &root).await);
        println!("\nready");
        let lives: Vec<_> = (0..4).map(|client| tokio::spawn(live(Arc::clone(&machines), client))).collect();
        for life in lives {
            life.await.unwrap();
        }
    });
}

/// Machines are created, started, paused, killed and removed for ever.
async fn live(machines: Arc<Machines>, client: usize) {
    let machine = name(&format!("m{client}"));
    let restart = ["never", "on-failure", "always"][client % 3];
    let run = ["manual", "rerun-on-failure", "always", "once"][client % 4];
    loop {
        // Each may be refused because of what an earlier daemon left; the next round goes on from there.
        let _ = machines
            .create(spec(machine.as_str(), json!({ "restart": restart, "run": run })), "a test")
            .await;
        let _ = machines.start(&machine).await;
        let _ = machines.pause(&machine).await;
        let _ = machines.kill(&machine).await;
        let _ = machines.remove(&machine, false).await;
        tokio::task::yield_now().await;
    }
}

fn spawn(kind: &str, root: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(ROOT, root)
        .env(DRIVER, kind)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.as_mut().unwrap());
    assert!(output.lines().any(|line| line.unwrap() == "ready"), "the daemon did not come up");
    child
}

/// Kills a daemon in each round, later each time, and lets a new one look at what is left.
fn kill_daemons(kind: &str, rounds: u32, step: Duration) {
    let root = Cleanup::new();
    let mut seen = 0;
    for round in 0..rounds {
        let mut child = spawn(kind, root.path());
        std::thread::sleep(step * round);
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        seen += daemon(look(kind, round, root.path()));
    }
    println!("{rounds} daemons killed, {seen} machines found");
    assert!(seen > 0, "no daemon was killed while it had machines");
    daemon(async {
        let machines = open(kind, root.path()).await;
        for status in machines.list() {
            remove(&machines, &status.name).await;
        }
        machines.close().await;
    });
    assert!(hypervisors(root.path()).is_empty(), "everything that ran was known");
    for directory in ["state/machines", "run"] {
        assert_eq!(std::fs::read_dir(root.path().join(directory)).unwrap().count(), 0, "{directory}");
    }
}

/// What the next daemon finds; how many machines.
async fn look(kind: &str, round: u32, root: &Path) -> usize {
    let machines = open(kind, root).await;
    let list = machines.list();
    for status in &list {
        assert_ne!(status.state, State::Broken, "round {round}: {status:?}");
        let runs = matches!(status.state, State::Running | State::Paused | State::Stopping);
        let begun_anew = status.restarts > 0 || status.run != RunStrategy::Manual;
        assert!(kind == "qemu" || !runs || begun_anew, "round {round}: {status:?}");
        let waits = status.state.is_ended() && status.next_restart.is_none();
        assert!(!waits || status.run != RunStrategy::Always, "round {round}: {status:?} was forgotten");
    }
    let directories = std::fs::read_dir(root.join("state/machines")).unwrap().count();
    assert!(directories <= list.len(), "round {round}: {directories} directories for {list:?}");
    know_all_hypervisors(&machines, root).await;
    machines.close().await;
    list.len()
}

/// Waits until every hypervisor that runs is one of the machines'; what was killed just now may take a moment to end.
async fn know_all_hypervisors(machines: &Machines, root: &Path) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let known: Vec<_> = machines.list().into_iter().filter_map(|status| status.pid).collect();
        let unknown: Vec<_> = hypervisors(root).into_iter().filter(|pid| !known.contains(pid)).collect();
        if unknown.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{unknown:?} run, known are {known:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A hypervisor that is just coming up does not answer yet.
async fn remove(machines: &Machines, name: &Name) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = machines.remove(name, true).await {
        assert_eq!(error.kind, ErrorKind::Broken, "{error}");
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn killed_daemons_leave_what_the_next_understands() {
    kill_daemons("null", 30, Duration::from_millis(3));
}

#[test]
fn killed_daemons_lose_no_hypervisor() {
    if qemu_is_installed() {
        kill_daemons("qemu", 12, Duration::from_millis(40));
    }
}
