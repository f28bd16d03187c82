//! Planning, work and results, on several threads with bounded memory.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::error::{Error, ErrorKind, Result};

use super::planner::{Planner, Unit};

/// Has `threads` threads do `work` on every unit, each with its own `state`, and calls `finish` with the results in the
/// order of the units, on the calling thread. At most three units for each thread exist at a time. Ends at the first error.
pub(super) fn run<S, T: Send>(
    planner: &mut Planner<'_>,
    threads: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &Unit) -> Result<T> + Sync,
    mut finish: impl FnMut(&Unit, T) -> Result<()>,
) -> Result<()> {
    let (units, queue) = channel::<(u64, Unit)>();
    let (results, done) = channel::<Done<T>>();
    let queue = Mutex::new(queue);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let results = results.clone();
            scope.spawn(|| worker(&queue, results, &state, &work));
        }
        drop(results);
        let mut in_flight =
            InFlight { units: Some(units), done, planned: 0, finished: 0, early: BTreeMap::new() };
        let outcome = in_flight.drive(planner, threads as u64 * 3, &mut finish);
        // Dropped, the channel ends the threads.
        in_flight.units = None;
        outcome
    })
}

struct Done<T> {
    number: u64,
    unit: Unit,
    result: Result<T>,
}

struct InFlight<T> {
    units: Option<Sender<(u64, Unit)>>,
    done: Receiver<Done<T>>,
    planned: u64,
    finished: u64,
    early: BTreeMap<u64, (Unit, T)>,
}

impl<T> InFlight<T> {
    fn drive(
        &mut self,
        planner: &mut Planner<'_>,
        most: u64,
        finish: &mut impl FnMut(&Unit, T) -> Result<()>,
    ) -> Result<()> {
        loop {
            while self.units.is_some() && self.planned - self.finished < most {
                match (planner.next_unit()?, &self.units) {
                    (Some(unit), Some(units)) => {
                        units.send((self.planned, unit)).map_err(|_| gone())?;
                        self.planned += 1;
                    }
                    _ => self.units = None,
                }
            }
            if self.finished == self.planned {
                return Ok(());
            }
            let done = self.done.recv().map_err(|_| gone())?;
            self.early.insert(done.number, (done.unit, done.result?));
            while let Some((unit, result)) = self.early.remove(&self.finished) {
                finish(&unit, result)?;
                self.finished += 1;
            }
        }
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Io, "the copying threads ended early")
}

fn worker<S, T>(
    queue: &Mutex<Receiver<(u64, Unit)>>,
    results: Sender<Done<T>>,
    state: &impl Fn() -> S,
    work: &impl Fn(&mut S, &Unit) -> Result<T>,
) {
    let mut state = state();
    loop {
        let Ok(Ok((number, unit))) = queue.lock().map(|queue| queue.recv()) else { return };
        // A panic has to become a result: the planner waits for one result for each unit.
        let result = catch_unwind(AssertUnwindSafe(|| work(&mut state, &unit)));
        let result = result.unwrap_or_else(|_| Err(Error::new(ErrorKind::Io, "a copying thread panicked")));
        if results.send(Done { number, unit, result }).is_err() {
            return;
        }
    }
}
