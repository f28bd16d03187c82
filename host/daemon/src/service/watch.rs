//! Long operations, and what is told of them while they run.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::api::{Error, ErrorKind, Part, Progress};

/// How often progress is told.
const TICK: Duration = Duration::from_millis(200);

/// How fast a rate follows: what is older counts for little.
const SMOOTH: f64 = 3.0;

/// Parts that are told at once: those that run, and a few that ended.
const PARTS: usize = 16;

/// An operation as it runs. It is its own [`witvirt_disk::Progress`]; one that waits for another shows that one's.
#[derive(Default)]
pub(crate) struct Watch {
    own: witvirt_disk::Progress,
    other: Mutex<Option<Arc<Watch>>>,
    cancelled: AtomicBool,
    /// What is to be told at once.
    warnings: Mutex<Vec<String>>,
}

impl Watch {
    /// Whether nobody wants the result any more.
    pub(crate) fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Shows how far `other` is instead, or itself again.
    pub(crate) fn follow(&self, other: Option<Arc<Watch>>) {
        *self.other.lock().unwrap_or_else(PoisonError::into_inner) = other;
    }

    /// Tells something that is worth knowing while the operation goes on.
    pub(crate) fn warn(&self, message: String) {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(message);
    }

    fn cancel_all(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
        self.own.cancel();
    }

    fn shown(self: &Arc<Self>) -> Arc<Self> {
        let other = self.other.lock().unwrap_or_else(PoisonError::into_inner).clone();
        other.unwrap_or_else(|| Arc::clone(self))
    }
}

impl Deref for Watch {
    type Target = witvirt_disk::Progress;

    fn deref(&self) -> &witvirt_disk::Progress {
        &self.own
    }
}

/// Runs `work` away from the async threads and tells how far it is. When nobody listens any more, it is cancelled.
pub(crate) fn with_progress<T: Send + 'static>(
    phase: &'static str,
    work: impl FnOnce(&Arc<Watch>) -> Result<T, Error> + Send + 'static,
) -> mpsc::Receiver<Progress<T>> {
    tell(phase, |watch| tokio::task::spawn_blocking(move || work(&watch)))
}

/// The same for work that waits more than it computes. It is not dropped when nobody listens any more: what `watch` knows of
/// is cancelled, and the rest goes on to its end.
pub(crate) fn with_progress_of<T, F>(
    phase: &'static str,
    work: impl FnOnce(Arc<Watch>) -> F,
) -> mpsc::Receiver<Progress<T>>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    tell(phase, |watch| tokio::spawn(work(watch)))
}

fn tell<T: Send + 'static>(
    phase: &'static str,
    begin: impl FnOnce(Arc<Watch>) -> JoinHandle<Result<T, Error>>,
) -> mpsc::Receiver<Progress<T>> {
    let (sender, receiver) = mpsc::channel(16);
    let watch = Arc::new(Watch::default());
    let mut working = begin(Arc::clone(&watch));
    tokio::spawn(async move {
        let watch = Ended(watch);
        let mut meters = Meters::default();
        let end = loop {
            tokio::select! {
                end = &mut working => break end,
                () = sender.closed() => watch.cancel_all(),
                () = tokio::time::sleep(TICK) => {
                    let _ = sender.try_send(meters.line(phase, &watch.shown()));
                }
            }
            tell_warnings(&watch, &sender).await;
            if sender.is_closed() {
                break working.await;
            }
        };
        tell_warnings(&watch, &sender).await;
        let line = match end {
            Ok(Ok(result)) => Progress::Done { result },
            Ok(Err(error)) => Progress::Error { error },
            Err(error) => {
                Progress::Error { error: Error::caused(ErrorKind::Internal, "the operation broke", &error) }
            }
        };
        let _ = sender.send(line).await;
    });
    receiver
}

/// Whoever tells of an operation; when it is dropped because the daemon ends, nobody waits for the operation either.
struct Ended(Arc<Watch>);

impl Deref for Ended {
    type Target = Arc<Watch>;

    fn deref(&self) -> &Arc<Watch> {
        &self.0
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.cancel_all();
    }
}

async fn tell_warnings<T>(watch: &Watch, sender: &mpsc::Sender<Progress<T>>) {
    let warnings = std::mem::take(&mut *watch.warnings.lock().unwrap_or_else(PoisonError::into_inner));
    for message in warnings {
        let _ = sender.send(Progress::Warning { message }).await;
    }
}

/// Rates of an operation and of its parts.
#[derive(Default)]
struct Meters {
    whole: Meter,
    parts: Vec<Meter>,
}

impl Meters {
    fn line<T>(&mut self, phase: &str, watch: &Watch) -> Progress<T> {
        let status = watch.status();
        let total = Some(status.total).filter(|total| *total > 0);
        let now = Instant::now();
        let rate = self.whole.update(status.done, now);
        let parts = watch.parts();
        self.parts.resize_with(parts.len(), Meter::default);
        let measured = parts.into_iter().zip(&mut self.parts).map(|(part, meter)| Part {
            rate: meter.update(part.done, now),
            name: part.name,
            done: part.done,
            total: Some(part.total).filter(|total| *total > 0),
        });
        let mut parts: Vec<Part> = measured.filter(|part| !ended(part)).collect();
        parts.truncate(PARTS);
        let words = watch.phase();
        Progress::Progress {
            phase: if words.is_empty() { phase.to_owned() } else { words },
            done: status.done,
            total,
            rate,
            eta: total.and_then(|total| eta(total.saturating_sub(status.done), rate)),
            parts,
        }
    }
}

fn ended(part: &Part) -> bool {
    part.total == Some(part.done)
}

/// Whole seconds for what is left.
fn eta(left: u64, rate: u64) -> Option<u64> {
    (rate > 0).then(|| left.div_ceil(rate))
}

/// Bytes a second, the newer the more.
#[derive(Default)]
struct Meter {
    last: Option<(Instant, u64)>,
    rate: f64,
}

impl Meter {
    fn update(&mut self, done: u64, now: Instant) -> u64 {
        let Some((then, before)) = self.last else {
            self.last = Some((now, done));
            return 0;
        };
        let seconds = now.duration_since(then).as_secs_f64();
        if seconds <= 0.0 {
            return self.rate as u64;
        }
        // An operation that counts anew (a second phase) has no negative rate.
        let current = done.saturating_sub(before) as f64 / seconds;
        let weight = if self.rate == 0.0 { 1.0 } else { 1.0 - (-seconds / SMOOTH).exp() };
        self.rate += weight * (current - self.rate);
        self.last = Some((now, done));
        self.rate as u64
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Meter, eta};

    #[test]
    fn a_steady_rate_is_measured_and_a_stall_is_noticed() {
        let (start, mut meter) = (Instant::now(), Meter::default());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(meter.update(500, at(0)), 0, "what was there before the first look has no rate");
        assert_eq!(meter.update(1500, at(1)), 1000);
        assert_eq!(meter.update(2500, at(2)), 1000);
        let stalled: Vec<u64> = (3..20).map(|second| meter.update(2500, at(second))).collect();
        assert!(stalled[0] < 1000 && stalled.last().is_some_and(|rate| *rate < 10), "{stalled:?}");
        meter.update(0, at(20));
        assert!(meter.update(100, at(21)) > 0, "counting anew");
    }

    #[test]
    fn the_end_is_rounded_up() {
        assert_eq!(eta(1001, 1000), Some(2));
        assert_eq!(eta(1000, 0), None);
    }
}
