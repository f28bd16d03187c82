//! What machines are made of.

use std::fs::File;
use std::path::Path;

use cap_std::fs::Dir;
use witvirt_core::Name;
use witvirt_core::spec::Disk;
use witvirt_hypervisor::Block;

use crate::status::ArrivingDisk;

/// Why something could not be had; shown to the user with its causes.
pub type ResourceError = Box<dyn std::error::Error + Send + Sync>;

/// Opens what a machine is made of: disks from the store, kernels and firmware from the allowed directories.
///
/// Every call may block; the driver makes them away from the async threads. A call that is repeated after a kill -9 finds
/// its own half-done work and goes on.
pub trait Resources: Send + Sync {
    /// The block behind one disk of `machine`, made on its first start. `overlays` is the machine's own directory for
    /// overlays and blank disks; what is there lives and dies with the machine. `None` for an empty drive.
    ///
    /// # Errors
    /// When the image is unknown, the file is not allowed, or there is no space.
    fn block(&self, machine: &Name, overlays: &Dir, disk: &Disk) -> Result<Option<Block>, ResourceError>;

    /// A kernel, initial RAM disk, firmware or variable template by absolute path, opened for reading.
    ///
    /// # Errors
    /// When the path is not inside an allowed directory or cannot be opened.
    fn file(&self, path: &str) -> Result<File, ResourceError>;

    /// A firmware from the store, opened for reading; `part` is "code" or "vars". The machine keeps what it got first, also
    /// when the image's name means another one later. `overlays` as for `block`.
    ///
    /// # Errors
    /// When the image is unknown or no firmware.
    fn firmware(
        &self,
        machine: &Name,
        overlays: &Dir,
        part: &'static str,
        image: &str,
    ) -> Result<File, ResourceError>;

    /// Lets go of what `block` holds for the machine outside its directory; called before the directory is deleted, and
    /// again when that was interrupted.
    ///
    /// # Errors
    /// When it cannot; the machine is then kept.
    fn release(&self, machine: &Name, overlays: &Dir) -> Result<(), ResourceError>;

    /// Serves those disks again that a machine still reads from this host: it runs since before this daemon, with sockets
    /// in `run_dir`. Called before it is adopted, and again where that fails.
    ///
    /// # Errors
    /// When one cannot be served; the machine is not adopted then, and asked for again later.
    fn resume(
        &self,
        _machine: &Name,
        _overlays: &Dir,
        _disks: &[Disk],
        _run_dir: &Path,
    ) -> Result<(), ResourceError> {
        Ok(())
    }

    /// The machine's instance has ended: whatever was served to it is not needed any more. Must not block.
    fn ended(&self, _machine: &Name) {}

    /// Disks of a machine whose image has not arrived yet. Must not block.
    fn arriving(&self, _machine: &Name) -> Vec<ArrivingDisk> {
        Vec::new()
    }
}
