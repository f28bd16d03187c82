//! `<disk>`: sources, buses and how requests are handled.

mod support;

use support::{assert_quiet, errors, run, run_with, warnings, with_devices};
use witvirt_sdk::core::Name;
use witvirt_sdk::core::spec::{
    Cache, ControllerKind, Disk, DiskBus, DiskDevice, DiskIo, DiskSource, ErrorPolicy, MachineSpec,
};

fn disk(attributes: &str, parts: &str) -> String {
    with_devices("pc", &format!("<disk {attributes}>{parts}</disk>"))
}

fn only_disk(machine: &MachineSpec) -> &Disk {
    assert_eq!(machine.disks.len(), 1);
    &machine.disks[0]
}

#[test]
fn sources_map_by_type() {
    let file = |path: &str, format: &str| DiskSource::File { path: path.into(), format: Some(format.into()) };
    for (attributes, parts, expected) in [
        ("type='file'", "<driver type='qcow2'/><source file='/a.img'/>", file("/a.img", "qcow2")),
        ("type='file'", "<source file='/a.img'/>", file("/a.img", "raw")),
        ("", "<source file='/a.img'/>", file("/a.img", "raw")),
        ("type='block'", "<driver name='qemu' type='raw'/><source dev='/dev/sdb'/>", file("/dev/sdb", "raw")),
        (
            "type='volume'",
            "<source pool='images' volume='Debian 12'/>",
            DiskSource::Image("Debian 12".into()),
        ),
        (
            "type='volume'",
            "<source pool='fast' volume='data-1'/>",
            DiskSource::Volume { name: Name::new("data-1").unwrap(), size: None },
        ),
    ] {
        let xml = disk(attributes, &format!("{parts}<target dev='vda' bus='virtio'/>"));
        let conversion = run(&xml);
        assert_quiet(&conversion, &xml);
        assert_eq!(only_disk(&conversion.machine).source, Some(expected), "{xml}");
    }
    let xml = disk("type='volume'", "<source pool='golden' volume='x'/><target dev='vda' bus='virtio'/>");
    let conversion = run_with(&xml, r#"{"image-pool": "golden"}"#);
    assert_eq!(only_disk(&conversion.machine).source, Some(DiskSource::Image("x".into())));
}

#[test]
fn sources_out_of_reach_are_refused() {
    for (attributes, parts, code) in [
        ("type='network'", "<source protocol='nbd' name='x'/>", "libvirt.disk.source"),
        ("type='dir'", "<source dir='/srv'/>", "libvirt.disk.source"),
        ("type='nvme'", "<source type='pci' namespace='1'/>", "libvirt.disk.source"),
        ("type='vhostuser'", "<source type='unix' path='/x'/>", "libvirt.disk.source"),
        ("type='file'", "", "libvirt.machine.invalid"),
        ("type='file'", "<source file='a.img'/>", "libvirt.machine.invalid"),
        ("type='carpet'", "<source file='/a.img'/>", "libvirt.value.invalid"),
        ("type='volume'", "<source pool='p' volume='../x'/>", "libvirt.value.invalid"),
        ("type='volume'", "<source pool='images'/>", "libvirt.value.missing"),
        ("type='file'", "<source file='/a'><encryption format='luks'/></source>", "libvirt.disk.encryption"),
        ("type='file'", "<source file='/a'><slices/></source>", "libvirt.disk.slices"),
        ("type='file'", "<source file='/a'/><transient/>", "libvirt.disk.transient"),
        ("type='file' device='lun'", "<source file='/a'/>", "libvirt.value.invalid"),
    ] {
        let xml = disk(attributes, &format!("{parts}<target dev='vda' bus='virtio'/>"));
        assert!(errors(&run(&xml)).contains(&code), "{xml}: {:?}", run(&xml).diagnostics);
    }
}

#[test]
fn drives_may_be_empty() {
    for source in ["", "<source/>", "<source file=''/>"] {
        let xml = disk("type='file' device='cdrom'", &format!("{source}<target dev='hdc' bus='ide'/>"));
        let conversion = run(&xml);
        assert_quiet(&conversion, &xml);
        let cdrom = only_disk(&conversion.machine);
        assert_eq!((&cdrom.source, cdrom.device, cdrom.read_only), (&None, DiskDevice::Cdrom, true));
    }
}

#[test]
fn buses_are_given_or_follow_from_the_name() {
    let source = "<source file='/a'/>";
    for (target, expected) in [
        ("dev='vda' bus='virtio'", DiskBus::Virtio),
        ("dev='sda' bus='sata'", DiskBus::Sata),
        ("dev='sda' bus='scsi'", DiskBus::Scsi),
        ("dev='hda' bus='ide'", DiskBus::Ide),
        ("dev='sda' bus='usb'", DiskBus::Usb),
        ("dev='vda' bus='nvme'", DiskBus::Nvme),
        ("dev='vda'", DiskBus::Virtio),
        ("dev='sda'", DiskBus::Scsi),
        ("dev='hda'", DiskBus::Ide),
    ] {
        let xml = disk("type='file'", &format!("{source}<target {target}/>"));
        let conversion = run(&xml);
        assert_quiet(&conversion, &xml);
        assert_eq!(only_disk(&conversion.machine).bus, expected, "{target}");
    }
    let floppy = run(&disk("type='file' device='floppy'", "<target dev='fda'/>"));
    assert_eq!(only_disk(&floppy.machine).bus, DiskBus::Fdc);
    for target in ["dev='xvda'", "dev='vda' bus='xen'", "dev='vda' bus='sd'", "dev='é'"] {
        let conversion = run(&disk("type='file'", &format!("{source}<target {target}/>")));
        assert!(errors(&conversion).contains(&"libvirt.value.invalid"), "{target}");
    }
    let ide_on_q35 =
        with_devices("q35", &format!("<disk type='file'>{source}<target dev='hda' bus='ide'/></disk>"));
    assert_eq!(errors(&run(&ide_on_q35)), ["libvirt.disk.bus"]);
}

#[test]
fn requests_are_handled_as_the_driver_says() {
    let parts = "<driver name='qemu' type='raw' cache='directsync' io='native' discard='ignore' error_policy='report'/>\
                 <source file='/a'/><target dev='vda' bus='virtio'/><boot order='2'/><serial>S 1</serial><readonly/>\
                 <blockio logical_block_size='4096'/>";
    let conversion = run(&disk("type='file'", parts));
    let disk = only_disk(&conversion.machine);
    assert_eq!((disk.cache, disk.io, disk.discard), (Cache::Directsync, DiskIo::Native, false));
    assert_eq!((disk.error_policy, disk.read_only), (ErrorPolicy::Report, true));
    assert_eq!((disk.boot_index, disk.serial.as_deref()), (Some(2), Some("S 1")));
    assert_eq!(disk.logical_block_size, Some(4096));
    assert_eq!(warnings(&conversion), [""; 0]);
}

#[test]
fn native_io_needs_a_direct_cache() {
    let parts = |cache: &str| {
        format!("<driver type='raw' io='native' {cache}/><source file='/a'/><target dev='vda' bus='virtio'/>")
    };
    assert_eq!(errors(&run(&disk("type='file'", &parts("")))), ["libvirt.disk.io"]);
    assert_eq!(errors(&run(&disk("type='file'", &parts("cache='none'")))), [""; 0]);
}

#[test]
fn conflicts_between_disks_are_found() {
    let one = "<disk type='file'><source file='/a'/><target dev='vda' bus='virtio'/><boot order='1'/></disk>";
    let conversion = run(&with_devices("q35", &one.repeat(2)));
    assert_eq!(errors(&conversion), ["libvirt.machine.invalid"; 2]);
    let second = |path: &Option<String>| path.as_deref() == Some("/domain/devices/disk[2]");
    assert_eq!(conversion.diagnostics.iter().filter(|diagnostic| second(&diagnostic.path)).count(), 2);
}

#[test]
fn scsi_disks_get_the_controller_that_libvirt_gives() {
    let scsi = "<disk type='file'><source file='/a'/><target dev='sda' bus='scsi'/></disk>";
    let conversion = run(&with_devices("q35", scsi));
    let scsi_of = |machine: &MachineSpec| {
        let scsi = machine.controllers.iter().filter(|made| made.kind == ControllerKind::Scsi);
        scsi.cloned().collect::<Vec<_>>()
    };
    let controller = &scsi_of(&conversion.machine)[0];
    assert_eq!((controller.kind, controller.model.as_deref()), (ControllerKind::Scsi, Some("lsilogic")));
    let with_model = format!("{scsi}<controller type='scsi' index='0' model='virtio-scsi'/>");
    let conversion = run(&with_devices("q35", &with_model));
    let controllers = scsi_of(&conversion.machine);
    assert_eq!(controllers.len(), 1);
    assert_eq!(controllers[0].model.as_deref(), Some("virtio-scsi"));
}
