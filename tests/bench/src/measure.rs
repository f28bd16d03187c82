//! Medians of repeated runs.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// The middle one; of an even number, the lower of the two in the middle.
pub fn median<T: Ord + Copy>(mut values: Vec<T>) -> T {
    values.sort_unstable();
    values[(values.len() - 1) / 2]
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

/// What a process took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// From its start to its end.
    pub wall: Duration,
    /// Of all its threads, in user and kernel mode, and of the processes it waited for.
    pub processor: Duration,
    /// Its memory.
    pub memory: Memory,
}

/// Memory of one process, in KiB.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// The most that was resident, pages of its program and libraries included, which it shares with the page cache.
    pub resident: u64,
    /// The most that was its own, as far as a look every two milliseconds tells.
    pub own: u64,
}

impl Usage {
    /// The median of each.
    pub fn median(runs: &[Self]) -> Self {
        let memory = |of: fn(&Memory) -> u64| median(runs.iter().map(|run| of(&run.memory)).collect());
        Self {
            wall: median(runs.iter().map(|run| run.wall).collect()),
            processor: median(runs.iter().map(|run| run.processor).collect()),
            memory: Memory { resident: memory(|memory| memory.resident), own: memory(|memory| memory.own) },
        }
    }
}

impl Memory {
    /// Of a process that runs. The kernel keeps the peak only of what is resident; what is its own is of this moment.
    pub fn of(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().ok()
        };
        Some(Self { resident: field("VmHWM")?, own: field("RssAnon")? })
    }
}

/// Runs a program that has to succeed.
pub fn usage(command: &mut Command) -> Result<Usage> {
    let start = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    let child = child.with_context(|| format!("cannot run {command:?}"))?;
    let (pid, ended) = (child.id(), AtomicBool::new(false));
    // Not from wait4(2), which counts the pages of the program that started the process too.
    let (waited, memory) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(pid, &ended));
        let waited = wait(child);
        ended.store(true, Ordering::Relaxed);
        (waited, watcher.join().unwrap_or_default())
    });
    let (status, used) = waited?;
    let wall = start.elapsed();
    ensure!(status == 0, "{command:?} failed (status {status})");
    let time = |value: libc::timeval| {
        Duration::from_micros(value.tv_sec.unsigned_abs() * 1_000_000 + value.tv_usec.unsigned_abs())
    };
    Ok(Usage { wall, processor: time(used.ru_utime) + time(used.ru_stime), memory })
}

/// Looks at a process until it has ended.
fn watch(pid: u32, ended: &AtomicBool) -> Memory {
    let mut most = Memory::default();
    while !ended.load(Ordering::Relaxed) {
        if let Some(memory) = Memory::of(pid) {
            most.resident = most.resident.max(memory.resident);
            most.own = most.own.max(memory.own);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    most
}

/// Waits for a process and takes its accounts (wait4(2)), which the standard library does not.
fn wait(child: Child) -> Result<(i32, libc::rusage)> {
    let pid = libc::pid_t::try_from(child.id())?;
    let mut status = 0;
    // SAFETY: a struct of numbers, for which zeros are values.
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to what lives here; `child` has not been waited for, so the id is its own.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut used) };
    ensure!(waited == pid, "cannot wait for a process: {}", std::io::Error::last_os_error());
    Ok((status, used))
}

/// A line of the report.
pub fn report(what: &str, value: impl std::fmt::Display) {
    println!("  {what:<58} {value}");
}
