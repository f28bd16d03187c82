//! Starts a machine, whole or not at all.

use std::os::fd::OwnedFd;
use std::time::Duration;

use qapi::qmp;
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use super::arguments::{self, Machine, Permissions, nic_id};
use super::instance::{QemuInstance, Shared, vnc_address};
use super::process::{Child, Identity, Inheritance, Process, spawn};
use super::qmp::Monitor;
use super::run_dir::{CONSOLE, MONITOR, RunDir};
use super::{QemuOptions, blocking, cgroup, files, tpm, watch};
use crate::accelerator::Accelerator;
use crate::boot_id::boot_id;
use crate::{Error, ErrorKind, InstanceRecord, Launch, Started};

/// How long a process that fails may take to end by itself, so that its own words are reported.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A started process, ended on drop unless it is released.
struct Spawned {
    identity: Identity,
    pidfd: Option<OwnedFd>,
    record: InstanceRecord,
    run_dir: RunDir,
}

pub(super) async fn start(
    options: QemuOptions,
    permissions: Permissions,
    accelerator: Accelerator,
    reason: String,
    launch: Launch,
) -> Result<Started, Error> {
    let patience = options.start_timeout;
    let unplugged: Vec<String> = launch
        .spec
        .interfaces
        .iter()
        .enumerate()
        .filter(|(_, nic)| !nic.link)
        .map(|(at, _)| nic_id(at))
        .collect();
    let name = launch.name.clone();
    let spawned = blocking(move || prepare(&options, &permissions, accelerator, reason, launch)).await?;
    let pidfd = spawned.pidfd.as_ref().map(OwnedFd::try_clone).transpose();
    let failed = |error| Error::caused(ErrorKind::Start, format!("{name}: QEMU cannot be watched"), error);
    let Some(pidfd) = pidfd.map_err(failed)? else {
        return Err(Error::new(ErrorKind::Start, format!("{name}: QEMU was not started")));
    };
    let process = Process::of_child(spawned.identity, pidfd).map_err(failed)?;
    let monitor = Monitor::default();
    let attempt = async {
        let mut events = monitor.connect(&spawned.run_dir).await.map_err(|error| {
            Error::caused(ErrorKind::Start, format!("{name}: QEMU closed its monitor"), error)
        })?;
        let (vnc, early) = watch::drive(&mut events, run(&monitor, &unplugged)).await;
        Ok::<_, Error>((events, vnc?, early))
    };
    let outcome = tokio::select! {
        outcome = tokio::time::timeout(patience, attempt) => outcome.unwrap_or_else(|_| {
            let message = format!("{name}: QEMU did not come up within {patience:?}");
            Err(Error::new(ErrorKind::Unresponsive, message))
        }),
        _ = process.exited() => Err(Error::new(ErrorKind::Start, format!("{name}: QEMU ended"))),
    };
    let (events, vnc, mut early) = match outcome {
        Ok(up) => up,
        Err(error) => {
            // It may be about to say why.
            let _still_there = tokio::time::timeout(LAST_WORDS, process.exited()).await;
            return Err(explain(error, &spawned.run_dir.stderr_tail()));
        }
    };
    // The start itself is no news.
    if let Some(at) = early.iter().position(|event| matches!(event, qmp::Event::RESUME { .. })) {
        early.remove(at);
    }
    let (mut record, run_dir) = spawned.release()?;
    record.vnc = vnc;
    let shared = Shared { record, process, monitor, run_dir };
    Ok(QemuInstance::watched(shared, events, early))
}

/// The part that blocks: files, sockets, processes.
fn prepare(
    options: &QemuOptions,
    permissions: &Permissions,
    accelerator: Accelerator,
    reason: String,
    mut launch: Launch,
) -> Result<Spawned, Error> {
    let run_dir = RunDir::open(&launch.run_dir)?;
    let mut inheritance = Inheritance::default();
    let mut descriptors = files::inherit(&mut launch, options.user, &run_dir, &mut inheritance)?;
    descriptors.qmp = inheritance.add(run_dir.listen(MONITOR)?);
    if arguments::has_console(&launch.spec) {
        descriptors.console = inheritance.add(run_dir.listen(CONSOLE)?);
    }
    // Refused before anything runs: the emulator of the TPM comes last.
    descriptors.tpm = launch.spec.tpm.as_ref().map(|_| -1);
    let machine = |descriptors: &_| {
        let machine = Machine { spec: &launch.spec, accelerator, descriptors, permissions };
        arguments::build(&machine)
            .map_err(|error| Error { message: format!("{}: {}", launch.name, error.message), ..error })
    };
    machine(&descriptors)?;
    if let (Some(_), Some(state)) = (&launch.spec.tpm, &launch.tpm_state) {
        descriptors.tpm = Some(inheritance.add(tpm::start(options, state, &run_dir)?));
    }
    let arguments = machine(&descriptors)?;
    run_dir.keep_arguments(&arguments)?;
    let mut record = InstanceRecord {
        driver: "qemu".to_owned(),
        pid: None,
        start_time: None,
        boot_id: boot_id()?,
        run_dir: launch.run_dir.clone(),
        accelerator: accelerator.as_str().to_owned(),
        accelerator_reason: reason,
        vnc: None,
        cgroup: None,
    };
    let stderr = run_dir.stderr_file()?;
    let process_file = run_dir.process_file()?;
    run_dir.keep_record(&record)?;
    let program = options.binary.as_path();
    let child =
        Child { program, arguments: &arguments, user: options.user, stderr, process_file, directory: None };
    let (identity, pidfd) = spawn(child, inheritance).map_err(|error| {
        run_dir.forget();
        let what = match error.kind() {
            std::io::ErrorKind::NotFound => "is not there; install the package qemu-system-x86",
            _ => "cannot be started",
        };
        Error::caused(ErrorKind::Start, format!("{}: {} {what}", launch.name, program.display()), error)
    })?;
    record.pid = Some(identity.pid);
    record.start_time = Some(identity.start_time);
    record.cgroup = cgroup::place(&launch.name, identity.pid);
    let spawned = Spawned { identity, pidfd: Some(pidfd), record, run_dir };
    // With its group, which a daemon that finds it removes.
    spawned.run_dir.keep_record(&spawned.record)?;
    Ok(spawned)
}

/// Sets what no argument can and lets the machine run; returns the address of its VNC server.
async fn run(monitor: &Monitor, unplugged: &[String]) -> Result<Option<String>, Error> {
    for name in unplugged {
        monitor.execute(qmp::set_link { name: name.clone(), up: false }).await?;
    }
    let vnc = vnc_address(monitor).await?;
    monitor.execute(qmp::cont {}).await?;
    let status = monitor.execute(qmp::query_status {}).await?;
    match status.status {
        // A guest may end, or fail, within the first millisecond; its events tell.
        qmp::RunState::prelaunch | qmp::RunState::internal_error => {
            Err(Error::new(ErrorKind::Start, format!("the machine does not run: {:?}", status.status)))
        }
        _ => Ok(vnc),
    }
}

/// Adds QEMU's own words to a failure.
fn explain(mut error: Error, stderr: &str) -> Error {
    if stderr.contains("is not a valid device model name") {
        error.kind = ErrorKind::Unsupported;
    }
    if !stderr.is_empty() {
        error.message = format!("{}: {stderr}", error.message);
    }
    error
}

impl Spawned {
    fn release(mut self) -> Result<(InstanceRecord, RunDir), Error> {
        let run_dir = self.run_dir.try_clone()?;
        self.pidfd = None;
        Ok((self.record.clone(), run_dir))
    }
}

impl Drop for Spawned {
    /// A start that failed or was given up leaves nothing behind.
    fn drop(&mut self) {
        let Some(pidfd) = self.pidfd.take() else { return };
        if let Err(error) = pidfd_send_signal(&pidfd, Signal::KILL) {
            tracing::debug!(pid = self.identity.pid, %error, "not killed");
        }
        let _reaped = waitid(WaitId::PidFd(std::os::fd::AsFd::as_fd(&pidfd)), WaitIdOptions::EXITED);
        cgroup::remove(self.record.cgroup.as_deref());
        self.run_dir.forget();
    }
}
