//! Finding the instance of an earlier daemon.

use tokio::time::Instant;
use witvirt_hypervisor::InstanceRecord;

use super::{ASK_AGAIN, Driver, Running, may_run};
use crate::state::Fact;
use crate::status::EventKind;

impl Driver {
    /// Brings state and truth together after a daemon's start. Returns when that is done, or when the instance does not
    /// answer, which is then tried again.
    pub(crate) async fn adopt(&mut self) {
        self.unreachable = None;
        if !may_run(self.machine.state) {
            return self.fact(Fact::Loaded).await;
        }
        let Some(record) = self.record.clone() else {
            return self.lost(None).await;
        };
        match self.shared.hypervisor().clone().adopt(&record).await {
            Ok(Some(started)) => {
                self.record = Some(started.instance.record());
                self.hold(started);
                let running = self.ask(|instance| async move { instance.running().await }).await;
                self.emit(EventKind::Adopted, None);
                self.fact(Fact::Adopted { running: running.unwrap_or(true) }).await;
            }
            Ok(None) => self.lost(Some(record)).await,
            Err(error) => {
                let reason =
                    crate::Error::caused(crate::ErrorKind::Hypervisor, "cannot adopt it", error).chain();
                self.emit(EventKind::Unreachable, Some(reason.clone()));
                self.unreachable = Some((reason, Instant::now() + ASK_AGAIN));
                self.publish();
            }
        }
    }

    async fn lost(&mut self, record: Option<InstanceRecord>) {
        let rebooted = record.is_some_and(|record| record.boot_id != self.shared.boot_id);
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
