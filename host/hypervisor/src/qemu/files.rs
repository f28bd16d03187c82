//! The open files of a launch, as QEMU inherits them.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

use rustix::fs::{OFlags, fcntl_getfl};
use witvirt_core::spec::{Disk, DiskDevice};

use super::arguments::{BlockDescriptor, Descriptors};
use super::process::Inheritance;
use super::run_dir::{RunDir, served_name};
use crate::accelerator::{User, may};
use crate::{Block, Error, ErrorKind, Launch};

/// Hands the files over. Those of the launch are taken out of it.
pub(super) fn inherit(
    launch: &mut Launch,
    user: Option<User>,
    run_dir: &RunDir,
    inheritance: &mut Inheritance,
) -> Result<Descriptors, Error> {
    let failed =
        |what: &str, error| Error::caused(ErrorKind::Start, format!("cannot hand {what} to QEMU"), error);
    let mut descriptors = Descriptors::default();
    for (index, (disk, block)) in launch.spec.disks.iter().zip(std::mem::take(&mut launch.disks)).enumerate()
    {
        let descriptor = match block {
            Some(block) => {
                let read_only = disk.read_only || disk.device == DiskDevice::Cdrom;
                let served = Served { run_dir, user, index };
                let inherited = inherit_block(block, read_only, &served, inheritance);
                Some(inherited.map_err(|error| failed(&format!("disk {}", disk_name(disk)), error))?)
            }
            None => None,
        };
        descriptors.disks.push(descriptor);
    }
    let mut opened_by_path = |file: Option<File>, name: &str| match file {
        Some(file) => Ok(Some(inheritance.add(readable(file, user, run_dir, name)?))),
        None => Ok(None),
    };
    descriptors.kernel = opened_by_path(launch.kernel.take(), "kernel")?;
    descriptors.initrd = opened_by_path(launch.initrd.take(), "initrd")?;
    if let Some(code) = launch.firmware_code.take() {
        let code = with_access(code, true).map_err(|error| failed("the firmware", error))?;
        descriptors.firmware_code = Some(inheritance.add(code));
    }
    if let Some(vars) = launch.firmware_vars.take() {
        let vars = with_access(vars, false).map_err(|error| failed("the firmware's variables", error))?;
        descriptors.firmware_vars = Some(inheritance.add(vars));
    }
    let log = launch.console_log.try_clone().map_err(|error| failed("the console log", error))?;
    descriptors.console_log = inheritance.add(log);
    Ok(descriptors)
}

fn disk_name(disk: &Disk) -> &str {
    disk.name.as_str()
}

/// Where a disk would be served.
struct Served<'a> {
    run_dir: &'a RunDir,
    user: Option<User>,
    index: usize,
}

fn inherit_block(
    block: Block,
    read_only: bool,
    served: &Served<'_>,
    inheritance: &mut Inheritance,
) -> io::Result<BlockDescriptor> {
    match block {
        Block::Raw { file, read_only: itself } => {
            let read_only = read_only || itself;
            let file = with_access(file, read_only)?;
            let block_device = file.metadata()?.file_type().is_block_device();
            Ok(BlockDescriptor::Raw { fd: inheritance.add(file), read_only, block_device })
        }
        Block::Overlay { file, backing } => {
            let file = with_access(file, read_only)?;
            let fd = inheritance.add(file);
            let backing = Box::new(inherit_block(*backing, true, served, inheritance)?);
            Ok(BlockDescriptor::Overlay { fd, read_only, backing })
        }
        Block::Served(_) if !read_only => {
            let message = "it is served read only, and the machine wants to write it";
            Err(io::Error::new(io::ErrorKind::InvalidInput, message))
        }
        Block::Served(server) => {
            let Served { run_dir, user, index } = served;
            let directory = run_dir.served(*user).map_err(io::Error::other)?;
            server.serve(run_dir.listen_served(*index).map_err(io::Error::other)?)?;
            Ok(BlockDescriptor::Served { directory: inheritance.add(directory), socket: served_name(*index) })
        }
    }
}

/// QEMU takes a descriptor from a set only when it was opened for exactly what is wanted.
fn with_access(file: File, read_only: bool) -> io::Result<File> {
    let access = fcntl_getfl(&file)? & OFlags::RWMODE;
    if access == (if read_only { OFlags::RDONLY } else { OFlags::RDWR }) {
        return Ok(file);
    }
    if !read_only {
        let message = "it is not read only for the machine, but was not opened for reading and writing";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    std::fs::OpenOptions::new().read(true).custom_flags(libc::O_CLOEXEC).open(path)
}

/// QEMU opens kernels by path, `/dev/fd/N`, for which its user needs the right to read the file. Where it lacks that, it
/// gets a copy.
fn readable(mut file: File, user: Option<User>, run_dir: &RunDir, name: &str) -> Result<File, Error> {
    let failed = |error| Error::caused(ErrorKind::Start, format!("cannot hand the {name} to QEMU"), error);
    let metadata = file.metadata().map_err(failed)?;
    if user.is_none_or(|user| user.uid == 0 || may(&metadata, user, 0o4)) {
        return Ok(file);
    }
    let mut copy = run_dir.scratch(name)?;
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    io::copy(&mut file, &mut copy).map_err(failed)?;
    Ok(copy)
}
