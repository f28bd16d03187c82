//! The few threads that drive connections.

use std::future::Future;
use std::sync::Arc;

use witvirt_disk::{Error, Result};

/// A tokio runtime of its own: callers block, and may themselves be threads of another runtime's blocking pool.
#[derive(Debug, Clone)]
pub(crate) struct Runtime(Arc<Inner>);

#[derive(Debug)]
struct Inner(Option<tokio::runtime::Runtime>);

impl Runtime {
    /// Two threads: they decrypt and hand over; decoding and hashing happen on the callers' threads.
    pub(crate) fn new() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("witvirt-fetch")
            .enable_all()
            .build()
            .map_err(|error| Error::io("start the threads that fetch", error))?;
        Ok(Self(Arc::new(Inner(Some(runtime)))))
    }

    /// Waits for the future. Must not be called on a thread that drives async tasks.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        let runtime = self.0.0.as_ref().expect("taken only when dropped");
        runtime.block_on(future)
    }
}

impl Drop for Inner {
    /// Without waiting: the last handle may be dropped on an async thread, where waiting would panic.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
