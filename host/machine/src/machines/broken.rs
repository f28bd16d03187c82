//! Machines whose files cannot be read.

use std::sync::Arc;

use witvirt_core::spec::RunStrategy;
use witvirt_core::{ByteSize, Name};

use super::Slots;
use crate::blocking;
use crate::driver::{Shared, remove_run_dir};
use crate::error::{Error, ErrorKind};
use crate::state::{Desired, Refusal, State};
use crate::status::{EventKind, MachineEvent, MachineStatus};
use crate::time::Timestamp;

pub(super) fn status(shared: &Shared, name: &Name, reason: &str, since: Timestamp) -> MachineStatus {
    MachineStatus {
        name: name.clone(),
        state: State::Broken,
        desired: Desired::Stopped,
        run: RunStrategy::Manual,
        since,
        started: None,
        uptime: None,
        vcpus: 0,
        memory: ByteSize(0),
        os: None,
        driver: shared.options.hypervisor.name().to_owned(),
        accelerator: None,
        accelerator_reason: None,
        pid: None,
        vnc: None,
        forwards: Vec::new(),
        exit: None,
        restarts: 0,
        next_restart: None,
        reason: Some(reason.to_owned()),
        arriving: Vec::new(),
    }
}

/// Deletes a broken machine; what may still run of it is looked for in its socket directory and ended.
pub(super) async fn remove(
    shared: &Arc<Shared>,
    slots: &Arc<Slots>,
    name: &Name,
    force: bool,
) -> Result<(), Error> {
    if !force {
        return Err(Error::new(ErrorKind::Broken, format!("machine {name} {}", Refusal::Broken)));
    }
    end(shared, name).await?;
    let (work, removed) = (Arc::clone(shared), name.clone());
    blocking::run(move || {
        if let Ok(overlays) = work.storage.machine(&removed).and_then(|dir| dir.overlays()) {
            work.options.resources.release(&removed, &overlays).map_err(|error| {
                Error::caused(ErrorKind::Resource, format!("cannot let go of the disks of {removed}"), error)
            })?;
        }
        remove_run_dir(&work, removed.as_str())
            .map_err(|error| Error::io(format!("cannot remove the sockets of {removed}"), error))?;
        work.storage.remove(&removed)
    })
    .await??;
    slots.remove(name);
    let time = shared.options.clock.now();
    // Without a listener nobody misses it.
    let _ = shared.events.send(MachineEvent {
        time,
        machine: name.clone(),
        kind: EventKind::Removed,
        detail: None,
    });
    Ok(())
}

async fn end(shared: &Shared, name: &Name) -> Result<(), Error> {
    let failed = |error| {
        let message = format!("machine {name} may still run and cannot be ended");
        Error::caused(ErrorKind::Hypervisor, message, error)
    };
    let found = shared.find_instance(&shared.unknown_instance(name)).await.map_err(failed)?;
    let Some(record) = found else { return Ok(()) };
    let Some(mut started) = shared.options.hypervisor.adopt(&record).await.map_err(failed)? else {
        return Ok(());
    };
    started.instance.kill().await.map_err(failed)?;
    while started.events.recv().await.is_some() {}
    Ok(())
}
