//! Planning, work and results, on several threads with bounded memory.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Condvar, Mutex, PoisonError};

use crate::error::{Error, ErrorKind, Result};

/// Bytes in planned units from which on no more are planned.
const MOST_HELD: u64 = 16 << 20;

/// What the threads do.
pub(super) trait Work: Sync {
    /// Units for each thread that exist at a time. On a busy machine the planner comes late; the threads should not wait for
    /// it.
    const UNITS_PER_THREAD: u64;

    /// What a thread keeps from one unit to the next.
    type State;
    /// What is planned.
    type Unit: Send;
    /// What becomes of a unit.
    type Made: Send;
    /// What is left to be written of it, once it is known where.
    type Placed: Send;

    /// For a new thread.
    fn state(&self) -> Self::State;

    /// Reads and transforms a unit; units in any order, on any thread.
    fn make(&self, state: &mut Self::State, unit: &Self::Unit) -> Result<Self::Made>;

    /// Writes what was placed; in any order, on any thread.
    fn write(&self, placed: Self::Placed) -> Result<()>;

    /// Bytes that a planned unit holds.
    fn held(unit: &Self::Unit) -> u64;
}

/// What the calling thread does.
pub(super) trait Course<W: Work> {
    /// The next unit.
    fn next(&mut self) -> Result<Option<W::Unit>>;

    /// Takes what was made, in the order of the units. What it gives back is written by any thread.
    fn place(&mut self, unit: &W::Unit, made: W::Made) -> Result<Option<W::Placed>>;

    /// Nothing is left to be done for the unit; in any order.
    fn finished(&mut self, unit: &W::Unit) -> Result<()>;
}

/// Has `threads` threads do the work on every unit of the course. Ends at the first error.
pub(super) fn run<W: Work>(course: &mut impl Course<W>, work: &W, threads: usize) -> Result<()> {
    let queue = Queue::default();
    let (results, done) = channel();
    std::thread::scope(|scope| {
        // Closed however this ends: the threads wait for it.
        let queue = Closing(&queue);
        for _ in 0..threads {
            let (results, queue) = (results.clone(), queue.0);
            scope.spawn(move || worker(queue, &results, work));
        }
        drop(results);
        drive(course, queue.0, &done, threads as u64 * W::UNITS_PER_THREAD)
    })
}

/// What a thread is to do next.
enum Job<W: Work> {
    Make(u64, W::Unit),
    Write(W::Unit, W::Placed),
}

/// What a thread has done.
enum Done<W: Work> {
    Made(u64, W::Unit, W::Made),
    Written(W::Unit),
}

fn drive<W: Work>(
    course: &mut impl Course<W>,
    queue: &Queue<Job<W>>,
    done: &Receiver<Result<Done<W>>>,
    most: u64,
) -> Result<()> {
    let (mut planned, mut placed, mut finished, mut held, mut more) = (0, 0, 0, 0, true);
    let mut early = BTreeMap::new();
    loop {
        while more && planned - finished < most && held < MOST_HELD {
            let Some(unit) = course.next()? else {
                more = false;
                break;
            };
            held += W::held(&unit);
            queue.push(Job::Make(planned, unit));
            planned += 1;
        }
        if finished == planned {
            return Ok(());
        }
        let gone = |_| Error::new(ErrorKind::Io, "the copying threads ended early");
        match done.recv().map_err(gone)?? {
            Done::Written(unit) => {
                course.finished(&unit)?;
                finished += 1;
                held -= W::held(&unit);
            }
            Done::Made(number, unit, made) => {
                early.insert(number, (unit, made));
            }
        }
        while let Some((unit, made)) = early.remove(&placed) {
            placed += 1;
            if let Some(placed) = course.place(&unit, made)? {
                queue.push_first(Job::Write(unit, placed));
                continue;
            }
            course.finished(&unit)?;
            finished += 1;
            held -= W::held(&unit);
        }
    }
}

fn worker<W: Work>(queue: &Queue<Job<W>>, results: &Sender<Result<Done<W>>>, work: &W) {
    let mut state = work.state();
    while let Some(job) = queue.pop() {
        // A panic has to become a result: the planner waits for one result for each job.
        let result = catch_unwind(AssertUnwindSafe(|| match job {
            Job::Make(number, unit) => {
                let made = work.make(&mut state, &unit)?;
                Ok(Done::Made(number, unit, made))
            }
            Job::Write(unit, placed) => work.write(placed).map(|()| Done::Written(unit)),
        }));
        let result = result.unwrap_or_else(|_| Err(Error::new(ErrorKind::Io, "a copying thread panicked")));
        if results.send(result).is_err() {
            return;
        }
    }
}

/// Jobs for whoever comes first.
struct Queue<J> {
    jobs: Mutex<Option<VecDeque<J>>>,
    ready: Condvar,
}

impl<J> Default for Queue<J> {
    fn default() -> Self {
        Self { jobs: Mutex::new(Some(VecDeque::new())), ready: Condvar::new() }
    }
}

impl<J> Queue<J> {
    fn push(&self, job: J) {
        self.with(|jobs| jobs.push_back(job));
    }

    /// What frees memory goes before what takes it.
    fn push_first(&self, job: J) {
        self.with(|jobs| jobs.push_front(job));
    }

    fn with(&self, add: impl FnOnce(&mut VecDeque<J>)) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(add);
        self.ready.notify_one();
    }

    /// `None` when there will be no more.
    fn pop(&self) -> Option<J> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(job) = jobs.as_mut()?.pop_front() {
                return Some(job);
            }
            jobs = self.ready.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Closes the queue when it is dropped; what is still in it is nobody's work any more.
struct Closing<'a, J>(&'a Queue<J>);

impl<J> Drop for Closing<'_, J> {
    fn drop(&mut self) {
        let jobs = self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.0.ready.notify_all();
        drop(jobs);
    }
}
