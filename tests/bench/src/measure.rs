//! Medians of repeated runs.

use std::time::{Duration, Instant};

use anyhow::Result;

/// The middle one; of an even number, the lower of the two in the middle.
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[(times.len() - 1) / 2]
}

/// How long something takes.
pub fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(Duration, T)> {
    let start = Instant::now();
    let result = work()?;
    Ok((start.elapsed(), result))
}

/// Runs ours and the peer's by turns, `pairs` times, and returns both medians.
pub fn pairs(
    pairs: usize,
    mut ours: impl FnMut() -> Result<Duration>,
    mut theirs: impl FnMut() -> Result<Duration>,
) -> Result<(Duration, Duration)> {
    let mut times = (Vec::new(), Vec::new());
    for _ in 0..pairs {
        times.0.push(ours()?);
        times.1.push(theirs()?);
    }
    Ok((median(times.0), median(times.1)))
}

/// A line of the report.
pub fn report(what: &str, value: impl std::fmt::Display) {
    println!("  {what:<58} {value}");
}
