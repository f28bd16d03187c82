//! Finding the instance of an earlier daemon.

use std::sync::Arc;

use tokio::time::Instant;
use witvirt_hypervisor::InstanceRecord;

use super::{Driver, FIRST_PAUSE, LONGEST_PAUSE, Running, Unreachable, may_run};
use crate::blocking;
use crate::resources::ResourceError;
use crate::state::Fact;
use crate::status::EventKind;

impl Driver {
    /// Brings state and truth together after a daemon's start. Returns when that is done, or when the instance does not
    /// answer, which is then tried again.
    pub(crate) async fn adopt(&mut self) {
        let earlier = self.unreachable.take();
        if !may_run(self.machine.state) {
            return self.fact(Fact::Loaded).await;
        }
        let adopted = match self.known_record().await {
            Ok(Some(record)) => {
                // Before its monitor is asked: QEMU may stand still until its disks answer.
                let resumed = self.resume_disks(&record).await;
                match self.shared.hypervisor().adopt(&record).await {
                    Ok(Some(started)) => resumed.map(|()| Some(started)),
                    Ok(None) => Ok(None),
                    Err(error) => Err(error.into()),
                }
            }
            Ok(None) => Ok(None),
            Err(error) => Err(error.into()),
        };
        match adopted {
            Ok(Some(started)) => {
                self.record = Some(started.instance.record());
                self.hold(started);
                let running = self.ask(|instance| async move { instance.running().await }).await;
                self.emit(EventKind::Adopted, None);
                self.fact(Fact::Adopted { running: running.unwrap_or(true) }).await;
            }
            Ok(None) => self.lost().await,
            Err(error) => {
                let reason =
                    crate::Error::caused(crate::ErrorKind::Hypervisor, "cannot adopt it", error).chain();
                if earlier.is_none() {
                    self.emit(EventKind::Unreachable, Some(reason.clone()));
                }
                let pause = earlier.map_or(FIRST_PAUSE, |silent| (silent.pause * 2).min(LONGEST_PAUSE));
                self.unreachable = Some(Unreachable { reason, again: Instant::now() + pause, pause });
                self.publish();
            }
        }
    }

    /// Serves again what the instance reads from this host; one that has ended reads nothing.
    async fn resume_disks(&self, record: &InstanceRecord) -> Result<(), ResourceError> {
        if record.boot_id != self.shared.boot_id || !record.run_dir.is_dir() {
            return Ok(());
        }
        let (shared, dir, spec) = (Arc::clone(&self.shared), self.dir.clone(), Arc::clone(&self.spec));
        let run_dir = record.run_dir.clone();
        let resumed = blocking::run(move || {
            let spec = &spec.spec;
            shared.resources().resume(&spec.name, &dir.overlays()?, &spec.disks, &run_dir)
        });
        resumed.await?
    }

    /// What the earlier daemon wrote down; where it died during a launch, what the launch itself left.
    async fn known_record(&self) -> Result<Option<InstanceRecord>, witvirt_hypervisor::Error> {
        match &self.record {
            Some(record) if self.machine.launching => self.shared.find_instance(record).await,
            record => Ok(record.clone()),
        }
    }

    async fn lost(&mut self) {
        let rebooted = self.record.as_ref().is_some_and(|record| record.boot_id != self.shared.boot_id);
        self.fact(Fact::Lost { rebooted }).await;
    }

    /// Takes an instance into keeping.
    pub(super) fn hold(&mut self, started: witvirt_hypervisor::Started) {
        let watched = self.log.appender().and_then(|file| self.shared.watcher.watch(&self.log, &file));
        let watch = watched
            .inspect_err(|error| {
                let name = self.name();
                tracing::warn!(machine = %name, %error, "its console log is not watched: its times are not kept");
            })
            .ok();
        self.running = Some(Running { started, pending: Default::default(), _watch: watch });
    }
}
