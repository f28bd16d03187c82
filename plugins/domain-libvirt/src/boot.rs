//! `<os>`: board, kernel and boot order.

use witvirt_sdk::core::domain::Severity;
use witvirt_sdk::core::spec::{BootDevice, Chipset};

use crate::document::{DETAIL, Element, Value, Waiver};
use crate::draft::Draft;
use crate::firmware;

const MENU: Waiver = Waiver::warning("libvirt.boot.menu", "the menu waits as long as the firmware likes");
const ACPI_TABLE: Waiver =
    Waiver::error("libvirt.boot.acpi", "witvirt gives guests no ACPI tables from files");
const NO_X86: Waiver = Waiver::error("libvirt.boot", "not for x86 guests");
const CONTAINER: Waiver = Waiver::error("libvirt.boot", "only for containers");

pub(crate) fn read(draft: &mut Draft<'_>) {
    let domain = draft.domain;
    let Some(os) = domain.child("os") else {
        domain.report(Severity::Error, "libvirt.value.missing", || "the domain has no <os>".to_owned());
        return;
    };
    read_type(os, draft);
    firmware::read(os, draft);
    read_kernel(os, draft);
    for boot in os.children("boot") {
        let classes = [
            ("hd", BootDevice::Disk),
            ("cdrom", BootDevice::Cdrom),
            ("network", BootDevice::Network),
            ("fd", BootDevice::Floppy),
        ];
        let class = boot.required("dev").and_then(|dev| dev.choose(&classes));
        draft.spec.boot.order.extend(class);
    }
    if let Some(menu) = os.child("bootmenu") {
        draft.spec.boot.menu = menu.attribute("enable").and_then(Value::yes).unwrap_or(false);
        menu.waive_parts(&["@timeout"], &MENU);
    }
    if let Some(bios) = os.child("bios") {
        bios.expect("useserial", &["no"], &DETAIL);
        bios.expect("rebootTimeout", &["-1"], &DETAIL);
    }
    os.waive_parts(&["acpi"], &ACPI_TABLE);
    os.waive_parts(&["dtb", "shim"], &NO_X86);
    os.waive_parts(&["init", "initarg", "initenv", "initdir", "inituser", "initgroup", "idmap"], &CONTAINER);
}

fn read_type(os: Element<'_>, draft: &mut Draft<'_>) {
    let Some(kind) = os.child("type") else {
        os.report(Severity::Error, "libvirt.value.missing", || "<os> has no <type>".to_owned());
        return;
    };
    kind.text().choose(&[("hvm", ())]);
    if let Some(arch) = kind.attribute("arch") {
        match arch.text {
            "x86_64" => {}
            "i686" => arch.waive(&Waiver::warning("libvirt.boot.arch", "the machine has 64-bit CPUs")),
            _ => arch.waive(&Waiver::error("libvirt.boot.arch", "witvirt runs x86_64 guests only")),
        }
    }
    let Some(machine) = kind.attribute("machine") else {
        draft.spec.chipset = Chipset::Pc;
        let message = || "no machine type: \"pc\", as under libvirt".to_owned();
        return kind.report(Severity::Info, "libvirt.default.machine", message);
    };
    match board(machine.text) {
        Some((chipset, versioned)) => {
            draft.spec.chipset = chipset;
            if versioned {
                machine.report(Severity::Info, "libvirt.boot.machine", || {
                    "the version of the board is not kept: the guest sees the hypervisor's newest".to_owned()
                });
            }
        }
        None => machine.refuse("pc, q35, pc-i440fx-VERSION or pc-q35-VERSION"),
    }
}

/// The chipset of a QEMU machine type, and whether the type names a version.
fn board(machine: &str) -> Option<(Chipset, bool)> {
    let version = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    match machine {
        "q35" => Some((Chipset::Q35, false)),
        "pc" => Some((Chipset::Pc, false)),
        _ => {
            // Versions, or the releases that Ubuntu and Red Hat name their boards after.
            let rest = machine.strip_prefix("pc-")?;
            let some = |text: &str| text.starts_with(|c: char| c.is_ascii_alphanumeric());
            match (rest.strip_prefix("q35-"), rest.strip_prefix("i440fx-")) {
                (Some(release), _) => some(release).then_some((Chipset::Q35, true)),
                (_, Some(release)) => some(release).then_some((Chipset::Pc, true)),
                _ => version(rest).then_some((Chipset::Pc, true)),
            }
        }
    }
}

/// Classes and positions exclude each other, as under libvirt.
pub(crate) fn check_order(draft: &Draft<'_>) {
    let spec = &draft.spec;
    let positions =
        spec.disks.iter().map(|disk| disk.boot_index).chain(spec.interfaces.iter().map(|i| i.boot_index));
    if !spec.boot.order.is_empty() && positions.flatten().next().is_some() {
        let place = draft.domain.child("os").unwrap_or(draft.domain);
        place.report(Severity::Error, "libvirt.boot.order", || {
            "either <boot dev> here or <boot order> at the devices, not both".to_owned()
        });
    }
}

fn read_kernel(os: Element<'_>, draft: &mut Draft<'_>) {
    let path =
        |name| os.child_text(name).filter(|value| !value.text.is_empty()).map(|value| value.text.to_owned());
    let boot = &mut draft.spec.boot;
    boot.kernel = path("kernel");
    boot.initrd = path("initrd");
    boot.cmdline = path("cmdline");
}

/// `<smbios mode>`: whether `<sysinfo>` reaches the guest. libvirt ignores the texts without mode='sysinfo'.
pub(crate) fn uses_sysinfo(os: Option<Element<'_>>) -> bool {
    let Some(mode) = os.and_then(|os| os.child("smbios")).and_then(|smbios| smbios.required("mode")) else {
        return false;
    };
    let modes = [("emulate", false), ("sysinfo", true), ("host", false)];
    let chosen = mode.choose(&modes).unwrap_or(false);
    if mode.text == "host" {
        mode.waive(&Waiver::warning("libvirt.sysinfo", "the guest does not see the host's own texts"));
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::board;
    use witvirt_sdk::core::spec::Chipset;

    #[test]
    fn knows_boards() {
        for (machine, expected) in [
            ("pc", Some((Chipset::Pc, false))),
            ("q35", Some((Chipset::Q35, false))),
            ("pc-q35-10.0", Some((Chipset::Q35, true))),
            ("pc-q35-rhel9.4.0", Some((Chipset::Q35, true))),
            ("pc-i440fx-2.12", Some((Chipset::Pc, true))),
            ("pc-i440fx-noble", Some((Chipset::Pc, true))),
            ("pc-1.0", Some((Chipset::Pc, true))),
            ("pc-q35-", None),
            ("pc-", None),
            ("microvm", None),
            ("isapc", None),
            ("xenfv", None),
            ("virt-9.0", None),
            ("", None),
        ] {
            assert_eq!(board(machine), expected, "{machine}");
        }
    }
}
