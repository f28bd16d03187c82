//! Differences that no guest cares about, each with its reason.

use crate::compare::Difference;

/// A kind of harmless difference.
pub struct Rule {
    /// As it stands in the table.
    pub name: &'static str,
    /// Why it is harmless.
    pub why: &'static str,
    applies: fn(&Difference, &str) -> bool,
}

/// All rules.
pub const RULES: &[Rule] = &[
    Rule {
        name: "default",
        why: "one line spells out what QEMU does anyway",
        applies: |difference, _| is_default(difference),
    },
    Rule {
        name: "board-version",
        why: "a version of the board: libvirt keeps the document's, witvirt gives the newest and says so",
        applies: |difference, _| {
            let family = |value: &Option<String>| {
                let value = value.as_deref().unwrap_or_default();
                if value.contains("q35") { "q35" } else { "pc" }
            };
            is(difference, "-machine", "type") && family(&difference.theirs) == family(&difference.ours)
        },
    },
    Rule {
        name: "file",
        why: "the file behind a disk: witvirt puts an overlay of its own over what it does not use in place",
        applies: |difference, _| matches!(key(difference), "drive.filename"),
    },
    Rule {
        name: "aio",
        why: "how the host submits requests; witvirt's default is spelt out",
        applies: |difference, _| key(difference) == "drive.aio" && difference.theirs.is_none(),
    },
    Rule {
        name: "mac",
        why: "the document names no address: libvirt makes one up at random, witvirt from the UUID",
        applies: |difference, document| key(difference) == "mac" && !document.contains("<mac "),
    },
    Rule {
        name: "rom",
        why: "the boot ROM of a card that the boot order leaves out is not loaded",
        applies: |difference, _| {
            key(difference) == "romfile"
                && difference.theirs.is_none()
                && difference.ours.as_deref() == Some("")
        },
    },
    Rule {
        name: "device-id",
        why: "libvirt gives SCSI disks its own name for the drive as a device id where they have no serial number",
        applies: |difference, _| key(difference) == "device_id" && difference.ours.is_none(),
    },
    Rule {
        name: "entropy",
        why: "where the host takes its random numbers from",
        applies: |difference, _| key(difference) == "rng",
    },
    Rule {
        name: "usb-ports",
        why: "an xHCI controller with all its ports, so that no hub is needed",
        applies: |difference, _| {
            matches!(key(difference), "p2" | "p3")
                && difference.theirs.is_none()
                && difference.kind.ends_with("xhci")
        },
    },
    Rule {
        name: "only-bus",
        why: "the only bus of its kind is named, or is not",
        applies: |difference, _| {
            key(difference) == "bus" && (difference.theirs.is_none() || difference.ours.is_none())
        },
    },
    Rule {
        name: "secure-s3",
        why: "a firmware with secure boot cannot wake from S3, so that the guest is not offered it",
        applies: |difference, _| {
            is(difference, "-global", "ICH9-LPC.disable_s3") && difference.theirs.is_none()
        },
    },
    Rule {
        name: "host-model",
        why: "the best CPU that the accelerator offers, instead of a copy of this host's by name and features",
        applies: |difference, document| {
            difference.kind == "-cpu" && document.contains("mode='host-model'") && difference.key.is_some()
        },
    },
    Rule {
        name: "ioeventfd",
        why: "which thread of the host hears a notification",
        applies: |difference, _| key(difference) == "ioeventfd",
    },
    Rule {
        name: "same-pages",
        why: "whether the host merges equal pages of memory",
        applies: |difference, _| is(difference, "-machine", "mem-merge"),
    },
    Rule {
        name: "random-id",
        why: "a new number at each start",
        applies: |difference, document| is(difference, "vmgenid", "guid") && document.contains("<genid/>"),
    },
    Rule {
        name: "read-only-zeros",
        why: "nothing is written to a CD-ROM, so that no zeros are found",
        applies: |difference, _| {
            key(difference) == "drive.detect-zeroes"
                && difference.kind.ends_with("-cd")
                && difference.ours.is_none()
        },
    },
    Rule {
        name: "usb-cdrom",
        why: "libvirt shows a CD-ROM drive on USB as a disk; witvirt shows a CD-ROM drive",
        applies: |difference, document| {
            document.contains("device='cdrom'")
                && document.contains("bus='usb'")
                && difference.key.is_none()
                && matches!(difference.kind.as_str(), "usb-storage" | "usb-bot" | "scsi-cd")
        },
    },
    Rule {
        name: "iothread",
        why: "which thread of the host serves a device",
        applies: |difference, _| key(difference).starts_with("iothread"),
    },
];

fn key(difference: &Difference) -> &str {
    difference.key.as_deref().unwrap_or_default()
}

fn is(difference: &Difference, kind: &str, wanted: &str) -> bool {
    difference.kind == kind && key(difference) == wanted
}

/// The name of the reason why a difference is harmless in the translation of this document.
pub fn reason(difference: &Difference, document: &str) -> Option<&'static str> {
    RULES.iter().find(|rule| (rule.applies)(difference, document)).map(|rule| rule.name)
}

/// Device (or option, or "*"), property and what QEMU 7.2 to 10.0 takes when it is not given.
const DEFAULTS: &[(&str, &str, &str)] = &[
    ("*", "write-cache", "on"),
    ("*", "werror", "enospc"),
    ("*", "rerror", "report"),
    ("*", "drive.cache.direct", "off"),
    ("*", "drive.cache.no-flush", "off"),
    ("*", "drive.read-only", "off"),
    ("*", "drive.detect-zeroes", "off"),
    ("*", "removable", "off"),
    ("*", "max_outputs", "1"),
    ("-machine", "acpi", "on"),
    ("-machine", "hpet", "on"),
    ("-boot", "menu", "off"),
    ("-cpu", "migratable", "on"),
    ("-cpu", "kvm-pv-ipi", "on"),
    ("pvpanic", "ioport", "1285"),
    ("VGA", "vgamem_mb", "16"),
    ("qxl-vga", "ram_size", "67108864"),
    ("qxl-vga", "vram_size", "67108864"),
    ("qxl-vga", "vram64_size_mb", "0"),
    ("qxl-vga", "vgamem_mb", "16"),
    ("qxl", "ram_size", "67108864"),
    ("qxl", "vram_size", "67108864"),
    ("qxl", "vram64_size_mb", "0"),
    ("qxl", "vgamem_mb", "16"),
    ("-global", "PIIX4_PM.disable_s3", "0"),
    ("-global", "PIIX4_PM.disable_s4", "0"),
    ("-global", "ICH9-LPC.disable_s3", "0"),
    ("-global", "ICH9-LPC.disable_s4", "0"),
];

fn is_default(difference: &Difference) -> bool {
    // Enlightenments are off unless asked for.
    let enlightenment = difference.kind == "-cpu" && key(difference).starts_with("hv-");
    let value = match (&difference.theirs, &difference.ours) {
        (Some(value), None) | (None, Some(value)) => value,
        _ => return false,
    };
    if enlightenment && value == "off" {
        return true;
    }
    DEFAULTS.iter().any(|(kind, name, default)| {
        (*kind == "*" || *kind == difference.kind) && *name == key(difference) && default == value
    })
}
