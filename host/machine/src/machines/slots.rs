//! Which machines there are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use witvirt_core::Name;

use crate::console::{ConsoleLog, Sessions};
use crate::driver::Contact;
use crate::error::{Error, ErrorKind};
use crate::storage::SpecFile;
use crate::time::Timestamp;

/// The machines of a daemon by name.
#[derive(Default)]
pub(crate) struct Slots(Mutex<BTreeMap<Name, Slot>>);

/// One name.
#[derive(Clone)]
pub(crate) enum Slot {
    /// It is being created.
    Reserved,
    /// Its files cannot be read.
    Broken { reason: Arc<str>, since: Timestamp },
    /// It has a driver.
    Live(Live),
}

/// A machine with a driver.
#[derive(Clone)]
pub(crate) struct Live {
    pub spec: Arc<SpecFile>,
    pub contact: Contact,
    pub log: Arc<ConsoleLog>,
    pub sessions: Arc<Sessions>,
}

impl Slots {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn all(&self) -> Vec<(Name, Slot)> {
        self.lock().iter().map(|(name, slot)| (name.clone(), slot.clone())).collect()
    }

    /// A machine by its name.
    pub(crate) fn get(&self, name: &Name) -> Result<Slot, Error> {
        match self.lock().get(name) {
            None | Some(Slot::Reserved) => Err(not_found(name)),
            Some(slot) => Ok(slot.clone()),
        }
    }

    pub(crate) fn contains(&self, name: &Name) -> bool {
        self.lock().contains_key(name)
    }

    pub(crate) fn insert(&self, name: Name, slot: Slot) {
        self.lock().insert(name, slot);
    }

    /// Keeps a name for a machine that is being created.
    pub(crate) fn reserve(&self, name: &Name) -> Result<(), Error> {
        let mut slots = self.lock();
        if slots.contains_key(name) {
            let message = format!("machine {name} exists already: remove it, or choose another name");
            return Err(Error::new(ErrorKind::Exists, message));
        }
        slots.insert(name.clone(), Slot::Reserved);
        Ok(())
    }

    pub(crate) fn remove(&self, name: &Name) {
        self.lock().remove(name);
    }
}

pub(crate) fn not_found(name: &Name) -> Error {
    Error::new(ErrorKind::NotFound, format!("no machine is named {name}: see `witvirt ps --all`"))
}
