//! The null driver: machines that exist only in memory, for tests of scale and protocol.
//!
//! It behaves like a well-kept guest: the power button ends it in order, the reset button restarts it, its console prints
//! a line and echoes what is typed. Nothing is emulated. Machines end with the daemon, so nothing is ever adopted.

mod guest;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, oneshot};
use witvirt_core::Name;

use crate::boot_id::boot_id;
use crate::{ConsoleStream, Error, ErrorKind, Hypervisor, Instance, InstanceRecord, Launch, Started};

use guest::{Guest, Order};

/// Bytes that a console buffers in each direction before the writer waits.
const CONSOLE_BUFFER: usize = 4096;
/// Events that wait for a slow reader.
const EVENT_BUFFER: usize = 64;
/// Orders that wait for the guest.
const ORDER_BUFFER: usize = 16;

/// Keeps machines in memory.
#[derive(Default)]
pub struct Null {
    machines: Mutex<HashMap<Name, Weak<NullInstance>>>,
    refusal: Mutex<Option<String>>,
}

/// What a test can make happen to a machine of the null driver with [`Null::simulate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The hypervisor process dies of this signal.
    Crash {
        /// Signal number.
        signal: i32,
    },
    /// The guest powers itself off.
    GuestShutdown,
    /// The guest resets itself.
    GuestReset,
    /// The guest's kernel panics; the machine goes on running.
    GuestPanic,
    /// The guest no longer reacts to the power button.
    Hang,
    /// The machine pauses itself, as on a full disk.
    Pause {
        /// What the event says.
        reason: String,
    },
}

impl Null {
    /// A driver without machines.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes something happen to a running machine. For tests.
    ///
    /// # Errors
    /// When no machine of that name runs.
    pub async fn simulate(&self, name: &Name, fault: Fault) -> Result<(), Error> {
        let instance = lock(&self.machines).get(name).and_then(Weak::upgrade);
        let instance = instance.ok_or_else(|| {
            Error::new(ErrorKind::Command, format!("no machine {name} runs on the null driver"))
        })?;
        instance.order(|done| Order::Fault { fault, done }).await
    }

    /// Makes the next start fail with this message. For tests.
    pub fn simulate_start_failure(&self, message: impl Into<String>) {
        *lock(&self.refusal) = Some(message.into());
    }
}

#[async_trait]
impl Hypervisor for Null {
    fn name(&self) -> &'static str {
        "null"
    }

    async fn start(&self, launch: Launch) -> Result<Started, Error> {
        launch.check()?;
        if let Some(message) = lock(&self.refusal).take() {
            return Err(Error::new(ErrorKind::Start, message));
        }
        let record = InstanceRecord {
            driver: self.name().to_owned(),
            pid: None,
            start_time: None,
            boot_id: boot_id()?,
            run_dir: launch.run_dir,
            accelerator: "null".to_owned(),
            accelerator_reason: "nothing is emulated".to_owned(),
            vnc: None,
            cgroup: None,
        };
        let (events, receiver) = mpsc::channel(EVENT_BUFFER);
        let (orders, inbox) = mpsc::channel(ORDER_BUFFER);
        let name = launch.name.clone();
        tokio::spawn(Guest::new(launch.name, launch.console_log, events).run(inbox));
        let instance = Arc::new(NullInstance { record, orders });
        let mut machines = lock(&self.machines);
        machines.retain(|_, instance| instance.strong_count() > 0);
        machines.insert(name, Arc::downgrade(&instance));
        Ok(Started { instance, events: receiver })
    }

    async fn adopt(&self, _record: &InstanceRecord) -> Result<Option<Started>, Error> {
        Ok(None)
    }
}

struct NullInstance {
    record: InstanceRecord,
    orders: mpsc::Sender<Order>,
}

impl NullInstance {
    async fn order<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> Result<T, Error> {
        let gone = || Error::new(ErrorKind::Command, "the machine has ended");
        let (done, answer) = oneshot::channel();
        self.orders.send(order(done)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }
}

#[async_trait]
impl Instance for NullInstance {
    fn record(&self) -> InstanceRecord {
        self.record.clone()
    }

    async fn pause(&self) -> Result<(), Error> {
        self.order(|done| Order::Pause { done }).await
    }

    async fn resume(&self) -> Result<(), Error> {
        self.order(|done| Order::Resume { done }).await
    }

    async fn powerdown(&self) -> Result<(), Error> {
        self.order(|done| Order::Powerdown { done }).await
    }

    async fn reset(&self) -> Result<(), Error> {
        self.order(|done| Order::Reset { done }).await
    }

    async fn kill(&self) -> Result<(), Error> {
        // Idempotent: a machine that has ended needs no order.
        let _ended = self.order(|done| Order::Kill { done }).await;
        Ok(())
    }

    async fn running(&self) -> Result<bool, Error> {
        self.order(|done| Order::Running { done }).await
    }

    async fn console(&self) -> Result<Box<dyn ConsoleStream>, Error> {
        let stream: DuplexStream = self.order(|done| Order::Console { done }).await?;
        Ok(Box::new(stream))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
