//! Disks.

use serde::{Deserialize, Serialize};

use super::data::DataFile;
use crate::bytes::ByteSize;
use crate::digest::Digest;
use crate::name::Name;

use super::Virtio;

/// A disk, CD-ROM or floppy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Disk {
    /// Unique in the machine; names the overlay and appears in messages ("root", "vda").
    pub name: Name,
    /// What it holds; absent: an empty drive (CD-ROM and floppy only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<DiskSource>,
    /// Disk or CD-ROM.
    #[serde(default)]
    pub device: DiskDevice,
    /// Where it is plugged in.
    #[serde(default)]
    pub bus: DiskBus,
    /// Read only for the guest. CD-ROMs always are.
    #[serde(default)]
    pub read_only: bool,
    /// Position in the boot order, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_index: Option<u32>,
    /// What the guest sees as serial number; at most 247 bytes of printable ASCII.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// How writes reach the host's disk.
    #[serde(default)]
    pub cache: Cache,
    /// How requests are submitted.
    #[serde(default)]
    pub io: DiskIo,
    /// Whether the guest's discards free space.
    #[serde(default = "yes")]
    pub discard: bool,
    /// What a failed write does.
    #[serde(default)]
    pub error_policy: ErrorPolicy,
    /// Sector size the guest sees: 512 or 4096.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logical_block_size: Option<u32>,
    /// Block size that the guest is told to prefer: a power of two from 512 to 2 MiB, not below the sector size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub physical_block_size: Option<u32>,
    /// World wide name: 16 hexadecimal digits; SATA, IDE and SCSI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wwn: Option<String>,
    /// What the drive says its maker is: at most 8 printable characters; SCSI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// What the drive says it is: at most 16 printable characters on SCSI, 40 on SATA and IDE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// Whether the drive says that its medium can be taken out; SCSI and USB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removable: Option<bool>,
    /// Revolutions per minute, 1 for a solid-state drive; SATA, IDE and SCSI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation_rate: Option<u16>,
    /// Request queues; virtio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues: Option<u16>,
    /// Entries of each queue: a power of two up to 1024; virtio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_size: Option<u16>,
    /// Cylinders, heads and sectors that the drive claims to have; IDE, SATA, SCSI and virtio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geometry: Option<Geometry>,
    /// What a failed read does, where that differs from a failed write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_error_policy: Option<ErrorPolicy>,
    /// Whether writes of zeros are found, and become holes.
    #[serde(default, skip_serializing_if = "DetectZeroes::is_off")]
    pub detect_zeroes: DetectZeroes,
    /// How it talks to its driver, if it is a virtio device.
    #[serde(default, skip_serializing_if = "Virtio::is_default")]
    pub virtio: Virtio,
    /// Controller index, where several of the bus exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<u32>,
}

fn yes() -> bool {
    true
}

/// What a disk holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DiskSource {
    /// An image of the store by name or digest; the machine gets an overlay of its own.
    Image(String),
    /// A named raw volume of the daemon that outlives machines; made on the first start when a size is given.
    #[serde(rename_all = "kebab-case")]
    Volume {
        /// Its name.
        name: Name,
        /// Its size in bytes, to make it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<ByteSize>,
    },
    /// A file inside an allowed directory. A raw one is used in place; any other format is imported into the store and
    /// gets an overlay.
    #[serde(rename_all = "kebab-case")]
    File {
        /// Absolute path.
        path: String,
        /// Registry name of its format ("raw", "qcow2"); absent: probed, which never yields raw.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        format: Option<String>,
    },
    /// An image on a server or in a registry. It is imported into the store before the machine starts, or while it runs
    /// (`start --lazy`), and gets an overlay.
    #[serde(rename_all = "kebab-case")]
    Remote {
        /// Where it is (`https://images.example/debian-12.qcow2`, `docker://registry.example/debian:12`). It is asked for
        /// without credentials: what needs some is imported first (`witvirt image import`).
        url: String,
        /// Registry name of its format ("raw", "qcow2"); absent: probed, which never yields raw.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        format: Option<String>,
        /// SHA-256 of the file; artifacts of registries have digests in their references instead. Of a machine that is
        /// started before all of the file is here, it is compared when it is; a machine that runs from another file is
        /// paused then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sha256: Option<Digest>,
    },
    /// Empty space that lives and dies with the machine.
    #[serde(rename_all = "kebab-case")]
    Blank {
        /// Bytes.
        size: ByteSize,
    },
    /// Files that are given here, on a read-only ISO 9660 file system that the host builds at each start: cloud-init's
    /// NoCloud (`cidata`) and ConfigDrive (`config-2`), Windows answer files, configuration and secrets.
    #[serde(rename_all = "kebab-case")]
    Data {
        /// What the file system is called: 1 to 32 printable ASCII characters.
        label: String,
        /// At most 1024 files with 1 MiB together.
        #[serde(default)]
        files: Vec<DataFile>,
    },
    /// What the guest writes over a named volume; forgotten when the machine ends. Nobody writes the volume meanwhile.
    #[serde(rename_all = "kebab-case")]
    Overlay {
        /// The volume's name. It has to exist.
        volume: Name,
    },
}

impl DiskSource {
    /// Whether it can only be read, whatever the disk says.
    pub fn is_read_only(&self) -> bool {
        matches!(self, Self::Data { .. })
    }
}

/// The geometry of a drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Geometry {
    /// Cylinders.
    pub cylinders: u32,
    /// Heads, 1 to 255.
    pub heads: u32,
    /// Sectors of a track, 1 to 255.
    pub sectors: u32,
    /// Whether the firmware translates sector numbers for old systems; IDE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub translation: Option<Translation>,
}

/// How a BIOS translates sector numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Translation {
    /// Not at all.
    None,
    /// Linear block addresses.
    Lba,
    /// As it likes.
    Auto,
}

/// What becomes of writes of zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DetectZeroes {
    /// They are written.
    #[default]
    Off,
    /// They take no space where the format can tell.
    On,
    /// They become holes.
    Unmap,
}

impl DetectZeroes {
    pub(super) fn is_off(&self) -> bool {
        *self == Self::Off
    }
}

/// What a drive looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DiskDevice {
    /// A hard disk.
    #[default]
    Disk,
    /// A CD-ROM drive.
    Cdrom,
    /// A floppy drive.
    Floppy,
}

/// A disk's bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DiskBus {
    /// virtio-blk.
    #[default]
    Virtio,
    /// AHCI.
    Sata,
    /// A SCSI controller (virtio-scsi unless the controller says otherwise).
    Scsi,
    /// IDE.
    Ide,
    /// USB mass storage.
    Usb,
    /// Floppy controller.
    Fdc,
    /// NVMe.
    Nvme,
}

/// How writes reach the host's disk; QEMU's cache modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cache {
    /// Host page cache, flushed when the guest flushes.
    #[default]
    Writeback,
    /// Direct, flushed when the guest flushes.
    None,
    /// Host page cache for reads, each write flushed.
    Writethrough,
    /// Direct, each write flushed.
    Directsync,
    /// Never flushed.
    Unsafe,
}

/// How requests are submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DiskIo {
    /// A thread pool.
    #[default]
    Threads,
    /// Linux AIO; needs direct cache modes.
    Native,
    /// io_uring.
    IoUring,
}

/// What a failed request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorPolicy {
    /// Pauses the machine on a full host disk, reports everything else.
    #[default]
    Enospace,
    /// Pauses the machine.
    Stop,
    /// Reports to the guest.
    Report,
    /// Ignores it.
    Ignore,
}
