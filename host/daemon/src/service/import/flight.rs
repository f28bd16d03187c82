//! One download for all who want the same thing at the same time.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use witvirt_core::Digest;

use crate::api::{Error, ErrorKind};
use crate::service::watch::Watch;

/// How many downloads are remembered for those who wait.
const REMEMBERED: usize = 256;

/// How often one who waits looks whether it still has to.
const LOOK: Duration = Duration::from_millis(200);

/// The downloads that run. Everybody in here was authorised by its own credentials before; who comes first downloads, the
/// others see how far that is and find the image in the store afterwards. When the first one gives up, the next goes on.
#[derive(Default)]
pub(in crate::service) struct Flights {
    running: Mutex<HashMap<String, Arc<Watch>>>,
    ended: Condvar,
    /// Which version of what a key names became which image.
    landed: Mutex<HashMap<String, (String, Digest)>>,
}

impl Flights {
    /// Runs `work` while nobody else runs with the same `key`; it gets whether it had to wait for somebody.
    ///
    /// # Errors
    /// `work`'s; that the caller went away while it waited.
    pub(super) fn alone<T>(
        &self,
        key: &str,
        watch: &Arc<Watch>,
        work: impl FnOnce(bool) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut waited = false;
        let mut running = self.lock();
        while let Some(other) = running.get(key) {
            if watch.cancelled() {
                return Err(Error::new(ErrorKind::Unavailable, "cancelled"));
            }
            waited = true;
            watch.follow(Some(Arc::clone(other)));
            let look = self.ended.wait_timeout(running, LOOK);
            running = look.unwrap_or_else(PoisonError::into_inner).0;
        }
        watch.follow(None);
        running.insert(key.to_owned(), Arc::clone(watch));
        drop(running);
        let _ends = End { flights: self, key };
        work(waited)
    }

    /// Notes what a version became, for those who wait for the same and are told the same version.
    pub(super) fn land(&self, key: &str, version: &str, image: Digest) {
        let mut landed = self.landed.lock().unwrap_or_else(PoisonError::into_inner);
        if landed.len() >= REMEMBERED {
            landed.clear();
        }
        landed.insert(key.to_owned(), (version.to_owned(), image));
    }

    /// What the last one made of this version.
    pub(super) fn landed(&self, key: &str, version: &str) -> Option<Digest> {
        let landed = self.landed.lock().unwrap_or_else(PoisonError::into_inner);
        landed.get(key).filter(|(known, _)| known == version).map(|(_, image)| *image)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Watch>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes room for the next one, however the work ended.
struct End<'a> {
    flights: &'a Flights,
    key: &'a str,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.flights.lock().remove(self.key);
        self.flights.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::Flights;
    use crate::service::watch::Watch;

    #[test]
    fn the_same_key_runs_once_at_a_time_and_others_side_by_side() {
        let flights = Flights::default();
        let (inside, most) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let work = |_| {
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::sleep(Duration::from_millis(20));
                        inside.fetch_sub(1, Ordering::SeqCst);
                        Ok(())
                    };
                    flights.alone("a", &Arc::new(Watch::default()), work).unwrap();
                });
            }
            scope.spawn(|| flights.alone("b", &Arc::new(Watch::default()), |_| Ok(())).unwrap());
        });
        assert_eq!(most.load(Ordering::SeqCst), 1);
        let gone = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            flights.alone::<()>("a", &Arc::new(Watch::default()), |_| panic!("broke"))
        }));
        assert!(gone.is_err());
        flights.alone("a", &Arc::new(Watch::default()), |_| Ok(())).unwrap();
    }

    #[test]
    fn those_who_waited_take_what_landed_of_their_version() {
        let flights = Flights::default();
        let image = witvirt_core::Digest::from_bytes([7; 32]);
        let (begun, goes_on) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let first = scope.spawn(|| {
                let first = |waited: bool| {
                    assert!(!waited);
                    begun.send(()).unwrap();
                    std::thread::sleep(Duration::from_millis(50));
                    flights.land("a", "v1", image);
                    Ok(())
                };
                flights.alone("a", &Arc::new(Watch::default()), first).unwrap();
            });
            goes_on.recv().unwrap();
            let found = |waited: bool| Ok((waited, flights.landed("a", "v1"), flights.landed("a", "v2")));
            let found = flights.alone("a", &Arc::new(Watch::default()), found).unwrap();
            assert_eq!(found, (true, Some(image), None));
            first.join().unwrap();
        });
    }
}
