//! A machine that runs, to act on it.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use qapi::qmp;
use rustix::net::Shutdown;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::process::Process;
use super::qmp::{Events, Monitor};
use super::run_dir::{CONSOLE, RunDir};
use super::{cgroup, watch};
use crate::{ConsoleStream, Error, ErrorKind, Instance, InstanceRecord, Started};

/// Events that wait for a slow reader.
const EVENT_BUFFER: usize = 64;
/// How long QEMU may take to answer when a machine is adopted.
const GREETING: Duration = Duration::from_secs(10);
/// How long QEMU may take to leave when it is asked to, before it is killed.
const LEAVE: Duration = Duration::from_secs(3);
/// How long a killed process may take to be gone: longer, when it waits for a device.
const DIE: Duration = Duration::from_secs(10);

/// What the instance and its watcher share.
pub(super) struct Shared {
    pub record: InstanceRecord,
    pub process: Process,
    pub monitor: Monitor,
    pub run_dir: RunDir,
}

pub(super) struct QemuInstance {
    shared: Arc<Shared>,
    /// A second handle on the console connection that was given out last.
    console: Mutex<Option<OwnedFd>>,
}

impl QemuInstance {
    /// Takes over a machine whose process lives. One that never ran, since its daemon died while it was being started, is
    /// ended.
    pub async fn adopt(
        process: Process,
        run_dir: RunDir,
        mut record: InstanceRecord,
    ) -> Result<Option<Started>, Error> {
        let monitor = Monitor::default();
        let greeted = tokio::select! {
            greeted = tokio::time::timeout(GREETING, monitor.connect(&run_dir)) => greeted,
            _ = process.ended() => return Ok(None),
        };
        let unresponsive = || {
            let pid = process.identity.pid;
            format!("QEMU process {pid} lives but does not answer on its monitor; end it with \"kill {pid}\"")
        };
        let mut events = match greeted {
            Ok(Ok(events)) => events,
            Ok(Err(_)) if process.has_ended() => return Ok(None),
            Ok(Err(error)) => return Err(Error::caused(ErrorKind::Unresponsive, unresponsive(), error)),
            Err(_) => return Err(Error::new(ErrorKind::Unresponsive, unresponsive())),
        };
        let (status, early) = watch::drive(&mut events, monitor.execute(qmp::query_status {})).await;
        if status?.status == qmp::RunState::prelaunch {
            process
                .kill()
                .map_err(|error| Error::caused(ErrorKind::Io, "cannot end a half-started machine", error))?;
            process.ended().await;
            cgroup::remove(record.cgroup.as_deref());
            run_dir.forget();
            return Ok(None);
        }
        let (vnc, more) = watch::drive(&mut events, vnc_address(&monitor)).await;
        record.vnc = vnc?;
        let early = early.into_iter().chain(more).collect();
        let shared = Shared { record, process, monitor, run_dir };
        Ok(Some(Self::watched(shared, events, early)))
    }

    /// Starts to watch a machine; `early` are events that have already been read.
    pub fn watched(shared: Shared, events: Events, early: Vec<qmp::Event>) -> Started {
        let shared = Arc::new(shared);
        let (sender, receiver) = mpsc::channel(EVENT_BUFFER);
        tokio::spawn(watch::watch(shared.clone(), events, early, sender));
        Started { instance: Arc::new(Self { shared, console: Mutex::new(None) }), events: receiver }
    }
}

/// The address of the VNC server, when there is one.
pub(super) async fn vnc_address(monitor: &Monitor) -> Result<Option<String>, Error> {
    let info = match monitor.execute(qmp::query_vnc {}).await {
        Ok(info) => info,
        // A QEMU built without VNC does not know the command.
        Err(error) if error.kind == ErrorKind::Command => return Ok(None),
        Err(error) => return Err(error),
    };
    let (true, Some(host), Some(port)) = (info.enabled, info.host, info.service) else { return Ok(None) };
    Ok(Some(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }))
}

#[async_trait]
impl Instance for QemuInstance {
    fn record(&self) -> InstanceRecord {
        self.shared.record.clone()
    }

    async fn pause(&self) -> Result<(), Error> {
        self.shared.monitor.execute(qmp::stop {}).await.map(drop)
    }

    async fn resume(&self) -> Result<(), Error> {
        self.shared.monitor.execute(qmp::cont {}).await.map(drop)
    }

    async fn powerdown(&self) -> Result<(), Error> {
        self.shared.monitor.execute(qmp::system_powerdown {}).await.map(drop)
    }

    async fn reset(&self) -> Result<(), Error> {
        self.shared.monitor.execute(qmp::system_reset {}).await.map(drop)
    }

    async fn kill(&self) -> Result<(), Error> {
        let Shared { process, monitor, .. } = &*self.shared;
        if process.has_ended() {
            return Ok(());
        }
        // Asked first, so that caches reach the disks.
        let asked = async {
            monitor.execute_within(LEAVE, qmp::quit {}).await.ok();
            process.exited().await;
        };
        if tokio::time::timeout(LEAVE, asked).await.is_ok() {
            return Ok(());
        }
        let pid = process.identity.pid;
        process
            .kill()
            .map_err(|error| Error::caused(ErrorKind::Io, format!("cannot kill process {pid}"), error))?;
        tokio::time::timeout(DIE, process.exited()).await.map_err(|_| {
            let message = format!("process {pid} was killed but does not end; it probably waits for a disk");
            Error::new(ErrorKind::Unresponsive, message)
        })
    }

    async fn running(&self) -> Result<bool, Error> {
        Ok(self.shared.monitor.execute(qmp::query_status {}).await?.running)
    }

    async fn console(&self) -> Result<Box<dyn ConsoleStream>, Error> {
        let failed = |error| Error::caused(ErrorKind::Io, "cannot connect the console", error);
        // QEMU serves one connection: the older one ends before the newer can begin.
        if let Some(older) = self.lock().take() {
            let _already_closed = rustix::net::shutdown(&older, Shutdown::Both);
        }
        let stream = UnixStream::connect(self.shared.run_dir.socket_path(CONSOLE)).await.map_err(failed)?;
        let handle =
            rustix::io::fcntl_dupfd_cloexec(&stream, stream.as_raw_fd()).map_err(|e| failed(e.into()))?;
        *self.lock() = Some(handle);
        Ok(Box::new(stream))
    }
}

impl QemuInstance {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<OwnedFd>> {
        self.console.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
