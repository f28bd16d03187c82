//! Bringing an instance up.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use cap_std::fs::{DirBuilder, DirBuilderExt, OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;
use witvirt_core::spec::{Firmware, FirmwareFile, MachineSpec};
use witvirt_hypervisor::{ErrorKind as HypervisorErrorKind, Launch, Started};

use super::{Driver, Shared};
use crate::blocking;
use crate::console::ConsoleLog;
use crate::error::{Error, ErrorKind};
use crate::resources::ResourceError;
use crate::storage::{MachineDir, SpecFile, VARS, replace};

/// More than any variable store: OVMF's have 128 KiB to 4 MiB.
const MAX_VARS: u64 = 64 << 20;

/// Why a launch yielded no instance.
pub(super) struct Failure {
    pub message: String,
    /// Whether another try would fail alike.
    pub permanent: bool,
}

impl Failure {
    pub(super) fn lost(error: &tokio::task::JoinError) -> Self {
        Self { message: format!("the start was not finished: {error}"), permanent: false }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { message: error.chain(), permanent: false }
    }
}

impl Driver {
    /// Begins the launch that the state now tells of.
    pub(super) fn start_launch(&mut self) {
        let (shared, dir) = (Arc::clone(&self.shared), self.dir.clone());
        let (spec, log) = (Arc::clone(&self.spec), Arc::clone(&self.log));
        self.launch = Some(tokio::spawn(launch(shared, dir, spec, log)));
    }
}

async fn launch(
    shared: Arc<Shared>,
    dir: MachineDir,
    spec: Arc<SpecFile>,
    log: Arc<ConsoleLog>,
) -> Result<Started, Failure> {
    let preparing = Arc::clone(&shared);
    let launch = blocking::run(move || prepare(&preparing, &dir, &spec.spec, &log)).await??;
    let name = launch.name.clone();
    shared.hypervisor().start(launch).await.map_err(|error| {
        let permanent = matches!(error.kind, HypervisorErrorKind::Unsupported | HypervisorErrorKind::Denied);
        let error = Error::caused(ErrorKind::Hypervisor, format!("cannot start {name}"), error);
        Failure { message: error.chain(), permanent }
    })
}

fn prepare(shared: &Shared, dir: &MachineDir, spec: &MachineSpec, log: &ConsoleLog) -> Result<Launch, Error> {
    let name = &spec.name;
    let run_dir = make_run_dir(shared, name.as_str())
        .map_err(|error| Error::io(format!("cannot make a directory for the sockets of {name}"), error))?;
    let overlays = dir.overlays()?;
    let resources = shared.resources();
    let mut disks = Vec::with_capacity(spec.disks.len());
    for disk in &spec.disks {
        let block = resources.block(name, &overlays, disk);
        disks.push(block.map_err(|error| unavailable(&format!("disk {} of {name}", disk.name), error))?);
    }
    let open = |what: &str, path: &Option<String>| -> Result<Option<File>, Error> {
        let Some(path) = path else { return Ok(None) };
        let opened = resources.file(path);
        opened.map(Some).map_err(|error| unavailable(&format!("{what} {path} of {name}"), error))
    };
    let open_firmware = |what: &str, part, file: &FirmwareFile| match file {
        FirmwareFile::Path(path) => {
            let opened = resources.file(path);
            opened.map_err(|error| unavailable(&format!("{what} {path} of {name}"), error))
        }
        FirmwareFile::Image { image } => {
            let opened = resources.firmware(name, &overlays, part, image);
            opened.map_err(|error| unavailable(&format!("{what} {image} of {name}"), error))
        }
    };
    let (code, vars) = match &spec.boot.firmware {
        Firmware::Bios => (None, None),
        Firmware::Uefi { code, vars_template, .. } => (Some(code), vars_template.as_ref()),
    };
    let firmware_vars = match vars {
        None => None,
        Some(_) if dir.dir().exists(VARS) => Some(open_vars(dir)?),
        Some(template) => {
            copy_vars(dir, open_firmware("variable template", "vars", template)?)?;
            Some(open_vars(dir)?)
        }
    };
    Ok(Launch {
        name: name.clone(),
        spec: spec.clone(),
        run_dir,
        console_log: log.appender().map_err(|error| Error::io("cannot open the console log", error))?,
        disks,
        kernel: open("kernel", &spec.boot.kernel)?,
        initrd: open("initrd", &spec.boot.initrd)?,
        firmware_code: code.map(|code| open_firmware("firmware", "code", code)).transpose()?,
        firmware_vars,
        tpm_state: spec.tpm.is_some().then(|| dir.tpm()).transpose()?,
    })
}

fn unavailable(what: &str, error: ResourceError) -> Error {
    Error::caused(ErrorKind::Resource, format!("cannot open {what}"), error)
}

/// An empty directory; what an earlier instance left is deleted.
fn make_run_dir(shared: &Shared, name: &str) -> io::Result<PathBuf> {
    remove_run_dir(shared, name)?;
    let mut private = DirBuilder::new();
    private.mode(0o700);
    shared.run_dir.create_dir_with(name, &private)?;
    Ok(shared.options.run_dir.join(name))
}

pub(crate) fn remove_run_dir(shared: &Shared, name: &str) -> io::Result<()> {
    match shared.run_dir.remove_dir_all(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The machine's own copy, which is there whole or not at all.
fn copy_vars(dir: &MachineDir, template: File) -> Result<(), Error> {
    let failed =
        |error| Error::io(format!("cannot copy the variable store to {}", dir.path().display()), error);
    let mut bytes = Vec::new();
    template.take(MAX_VARS + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_VARS {
        return Err(Error::new(
            ErrorKind::Resource,
            "the variable template is larger than 64 MiB: is it one?",
        ));
    }
    replace(dir.dir(), VARS, &bytes).map_err(failed)
}

fn open_vars(dir: &MachineDir) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    let opened = dir.dir().open_with(VARS, &options);
    let failed = |error| Error::io(format!("cannot open {}", dir.path().join(VARS).display()), error);
    Ok(opened.map_err(failed)?.into_std())
}
