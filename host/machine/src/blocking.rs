//! Work that blocks, away from the async threads.

use crate::error::{Error, ErrorKind};

/// Runs `work` where it may block. `what` reads well after "cannot ".
pub(crate) async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let done = run(work).await?;
    done.map_err(|error| Error::io(format!("cannot {what}"), error))
}

/// Runs `work` where it may block.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::caused(ErrorKind::Closed, "the work was not finished", error))
}
