//! Everything outside `<devices>`.

mod support;

use domain_libvirt::{Settings, convert};
use support::{assert_quiet, errors, run, run_with, warnings, with_devices, with_elements};
use witvirt_sdk::core::spec::{
    Chipset, ClockBase, CpuModel, FeaturePolicy, Firmware, RestartPolicy, TimerTick,
};
use witvirt_sdk::core::{ByteSize, Name};

fn with_os(os: &str) -> String {
    with_devices("q35", "").replace("<os><type machine='q35'>hvm</type></os>", os)
}

fn with_firmware(attributes: &str, parts: &str) -> String {
    with_os(&format!("<os {attributes}><type machine='q35'>hvm</type>{parts}</os>"))
}

const FIRMWARE: &str = r#"{"firmware": {"code": "/f/code", "vars-template": "/f/vars"}, "secure-firmware": {"code": "/f/secure"}}"#;

fn uefi(code: &str, vars_template: Option<&str>, secure: bool) -> Firmware {
    Firmware::Uefi { code: code.into(), vars_template: vars_template.map(Into::into), secure }
}

#[test]
fn names_are_made_to_fit() {
    for (name, expected) in [
        ("web-1", Some("web-1")),
        ("Debian 12 (x)", Some("debian-12--x")),
        ("_a_", Some("a")),
        ("Grün", Some("gr-n")),
        ("日本", None),
        ("", None),
    ] {
        let xml = with_devices("pc", "").replace("<name>a<", &format!("<name>{name}<"));
        let conversion = run(&xml);
        match expected {
            Some(expected) => assert_eq!(conversion.machine.name.as_str(), expected, "{name}"),
            None => assert_eq!(errors(&conversion).len(), 1, "{name}"),
        }
    }
    let wanted = Some(Name::new("other").unwrap());
    let conversion = convert(&with_devices("pc", ""), wanted, &Settings::default()).unwrap();
    assert_eq!(conversion.machine.name.as_str(), "other");
}

#[test]
fn memory_is_scaled_and_rounded() {
    for (memory, expected) in [
        ("<memory>1048576</memory>", ByteSize::gib(1)),
        ("<memory unit='GiB'>2</memory>", ByteSize::gib(2)),
        ("<memory unit='MB'>1</memory>", ByteSize::mib(1)),
        ("<memory unit='b'>1048577</memory>", ByteSize::mib(2)),
    ] {
        let xml = with_devices("pc", "").replace("<memory unit='MiB'>64</memory>", memory);
        let conversion = run(&xml);
        assert_quiet(&conversion, &xml);
        assert_eq!(conversion.machine.memory, expected, "{memory}");
    }
    for memory in
        ["<memory unit='EiB'>16</memory>", "<memory>-1</memory>", "<memory>1.5</memory>", "<memory/>", ""]
    {
        let xml = with_devices("pc", "").replace("<memory unit='MiB'>64</memory>", memory);
        assert!(!errors(&run(&xml)).is_empty(), "{memory}");
    }
    let less = run(&with_elements("<currentMemory unit='MiB'>32</currentMemory>"));
    assert_eq!(warnings(&less), ["libvirt.memory.current"]);
    for element in ["<memoryBacking/>", "<memtune/>", "<numatune/>", "<maxMemory slots='1'>9</maxMemory>"] {
        assert_eq!(warnings(&run(&with_elements(element))).len(), 1, "{element}");
    }
}

#[test]
fn boards_and_types() {
    for (kind, chipset) in [
        ("<type machine='pc-q35-10.0' arch='x86_64'>hvm</type>", Chipset::Q35),
        ("<type machine='pc-i440fx-9.2'>hvm</type>", Chipset::Pc),
        ("<type>hvm</type>", Chipset::Pc),
    ] {
        let xml = with_os(&format!("<os>{kind}</os>"));
        let conversion = run(&xml);
        assert_quiet(&conversion, &xml);
        assert_eq!(conversion.machine.chipset, chipset);
    }
    for kind in
        ["<type machine='microvm'>hvm</type>", "<type>exe</type>", "<type arch='aarch64'>hvm</type>", ""]
    {
        assert_eq!(errors(&run(&with_os(&format!("<os>{kind}</os>")))).len(), 1, "{kind}");
    }
    assert_eq!(errors(&run(&with_os(""))), ["libvirt.value.missing"]);
    let xen = with_devices("pc", "").replace("type='kvm'", "type='xen'");
    assert_eq!(errors(&run(&xen)), ["libvirt.value.invalid"]);
}

#[test]
fn boot_order_kernel_and_menu() {
    let xml = with_firmware(
        "",
        "<boot dev='cdrom'/><boot dev='hd'/><boot dev='network'/><boot dev='fd'/><bootmenu enable='yes'/>\
         <kernel>/k</kernel><initrd>/i</initrd><cmdline>a=b  c</cmdline>",
    );
    let conversion = run(&xml);
    assert_quiet(&conversion, &xml);
    let boot = conversion.machine.boot;
    assert_eq!((boot.order, boot.strict, boot.menu), (Vec::new(), Some(true), true));
    assert_eq!((boot.kernel.as_deref(), boot.initrd.as_deref()), (Some("/k"), Some("/i")));
    assert_eq!(boot.cmdline.as_deref(), Some("a=b  c"));
    assert_eq!(errors(&run(&with_firmware("", "<cmdline>x</cmdline>"))), ["libvirt.machine.invalid"]);
    let disk =
        "<disk type='file'><source file='/a'/><target dev='vda' bus='virtio'/><boot order='1'/></disk>";
    let both = with_devices("q35", disk).replace("</os>", "<boot dev='hd'/></os>");
    assert_eq!(errors(&run(&both)), ["libvirt.boot.order"]);
}

#[test]
fn firmware_is_named_or_configured() {
    let flash = "<loader readonly='yes' type='pflash'>/c</loader>";
    for (attributes, parts, expected) in [
        ("", "", Firmware::Bios),
        ("firmware='bios'", "", Firmware::Bios),
        ("firmware='efi'", "", uefi("/f/code", Some("/f/vars"), false)),
        ("firmware='efi'", "<loader secure='yes'/>", uefi("/f/secure", None, true)),
        (
            "firmware='efi'",
            "<firmware><feature enabled='yes' name='secure-boot'/></firmware>",
            uefi("/f/secure", None, true),
        ),
        ("firmware='efi'", "<nvram template='/t'>/own</nvram>", uefi("/f/code", Some("/t"), false)),
        ("", &format!("{flash}<nvram template='/t'>/own</nvram>"), uefi("/c", Some("/t"), false)),
        (
            "",
            "<loader readonly='yes' secure='yes' type='pflash'>/c</loader><nvram template='/t'/>",
            uefi("/c", Some("/t"), true),
        ),
        (
            "",
            "<loader type='pflash' readonly='yes'>/f/code</loader>",
            uefi("/f/code", Some("/f/vars"), false),
        ),
        ("", "<loader type='pflash' readonly='yes' stateless='yes'>/c</loader>", uefi("/c", None, false)),
    ] {
        let xml = with_firmware(attributes, parts);
        let conversion = run_with(&xml, FIRMWARE);
        assert_quiet(&conversion, &xml);
        assert_eq!(conversion.machine.boot.firmware, expected, "{xml}");
    }
    let own = run(&with_firmware("", &format!("{flash}<nvram>/own</nvram>")));
    assert_eq!(warnings(&own), ["libvirt.boot.nvram"]);
    assert_eq!(own.machine.boot.firmware, uefi("/c", Some("/own"), false));
    for (attributes, parts) in [
        ("firmware='efi'", ""),
        ("", "<loader type='rom'>/b</loader>"),
        ("", "<loader>/b</loader>"),
        ("", "<loader readonly='no' type='pflash'>/c</loader>"),
        ("", "<nvram>/own</nvram>"),
        ("", "<loader readonly='yes' type='pflash' format='qcow2'>/c</loader>"),
        ("", "<loader readonly='yes' type='pflash' stateless='yes'>/c</loader><nvram>/own</nvram>"),
    ] {
        assert!(!errors(&run(&with_firmware(attributes, parts))).is_empty(), "{attributes} {parts}");
    }
}

#[test]
fn cpus_have_models_topologies_and_features() {
    for (cpu, expected) in [
        ("", CpuModel::Named("qemu64".into())),
        ("<cpu/>", CpuModel::Named("qemu64".into())),
        ("<cpu mode='host-passthrough'/>", CpuModel::Host),
        ("<cpu mode='host-model'/>", CpuModel::Default),
        ("<cpu mode='maximum'/>", CpuModel::Max),
        ("<cpu mode='custom'><model>Haswell</model></cpu>", CpuModel::Named("Haswell".into())),
        ("<cpu><model>qemu64</model></cpu>", CpuModel::Named("qemu64".into())),
    ] {
        let xml = with_elements(cpu);
        let conversion = run(&xml);
        assert_quiet(&conversion, &xml);
        assert_eq!(conversion.machine.cpu.model, expected, "{cpu}");
    }
    let xml = with_elements(
        "<vcpu>8</vcpu><cpu><topology sockets='1' dies='2' cores='2' threads='2'/><feature policy='force' name='aes'/>\
         <feature name='vmx' policy='disable'/><feature name='lahf_lm'/></cpu>",
    );
    let conversion = run(&xml);
    assert_quiet(&conversion, &xml);
    let cpu = conversion.machine.cpu;
    assert_eq!((cpu.count, cpu.topology.unwrap().dies), (8, 2));
    let features: Vec<_> = cpu.features.iter().map(|f| (f.name.as_str(), f.policy)).collect();
    use FeaturePolicy::{Disable, Require};
    assert_eq!(features, [("aes", Require), ("vmx", Disable), ("lahf-lm", Require)]);
    let mismatch =
        run(&with_elements("<vcpu>3</vcpu><cpu><topology sockets='1' cores='2' threads='1'/></cpu>"));
    assert_eq!(errors(&mismatch), ["libvirt.machine.invalid"]);
    let emulated = with_elements("<cpu mode='host-passthrough'/>").replace("type='kvm'", "type='qemu'");
    assert_eq!(errors(&run(&emulated)), ["libvirt.cpu.model"]);
}

#[test]
fn enlightenments_are_cpu_features() {
    let xml = with_devices("q35", "").replace(
        "<acpi/>",
        "<acpi/><apic eoi='on'/><hyperv><relaxed state='on'/><stimer state='on'><direct state='on'/></stimer>\
         <ipi state='off'/></hyperv><kvm><hidden state='on'/><hint-dedicated state='on'/></kvm><pmu state='off'/>",
    );
    let conversion = run(&xml);
    assert_quiet(&conversion, &xml);
    let features = &conversion.machine.cpu.features;
    let features: Vec<_> =
        features.iter().map(|f| (f.name.as_str(), f.policy == FeaturePolicy::Require)).collect();
    assert_eq!(
        features,
        [
            ("kvm-pv-eoi", true),
            ("hv-relaxed", true),
            ("hv-stimer", true),
            ("hv-stimer-direct", true),
            ("hv-ipi", false),
            ("kvm", false),
            ("kvm-hint-dedicated", true),
            ("pmu", false),
        ]
    );
    let spinlocks = xml.replace("<ipi state='off'/>", "<spinlocks state='on' retries='8191'/>");
    let settings = run(&spinlocks).machine.cpu.settings;
    let settings: Vec<_> = settings.iter().map(|set| (set.name.as_str(), set.value.as_str())).collect();
    assert_eq!(settings, [("hv-spinlocks", "8191")]);
    // A part of another enlightenment is not taken for the timer's.
    let flush = xml.replace("<ipi state='off'/>", "<tlbflush state='on'><direct state='on'/></tlbflush>");
    let features = run(&flush).machine.cpu.features;
    assert!(features.iter().any(|feature| feature.name == "hv-tlbflush-direct"));
}

/// Of each class the first device is booted, by its name on its bus; a class without a device keeps its position.
#[test]
fn boot_classes_become_positions() {
    let disk = |dev: &str, bus: &str, device: &str| {
        format!(
            "<disk type='file' device='{device}'><source file='/{dev}'/><target dev='{dev}' bus='{bus}'/></disk>"
        )
    };
    let devices = [
        disk("vdb", "virtio", "disk"),
        disk("sda", "sata", "disk"),
        disk("vda", "virtio", "disk"),
        disk("sdb", "sata", "cdrom"),
    ]
    .concat();
    for (order, expected) in [
        ("", [None, None, Some(1), None]),
        ("<boot dev='cdrom'/><boot dev='hd'/>", [None, None, Some(2), Some(1)]),
        ("<boot dev='fd'/><boot dev='hd'/>", [None, None, Some(2), None]),
        ("<boot dev='hd'/><boot dev='hd'/>", [None, None, Some(1), None]),
    ] {
        let xml = with_devices("q35", &devices).replace("</os>", &format!("{order}</os>"));
        let conversion = run(&xml);
        assert_quiet(&conversion, &xml);
        let positions: Vec<_> = conversion.machine.disks.iter().map(|disk| disk.boot_index).collect();
        assert_eq!(positions, expected, "{order}");
    }
}

#[test]
fn nodes_have_cpus_memory_and_distances() {
    let numa = "<vcpu>4</vcpu><cpu><numa><cell id='0' cpus='0-1,3,^1' memory='32' unit='MiB'>\
                <distances><sibling id='1' value='21'/></distances></cell>\
                <cell id='1' cpus='1-2' memory='16' unit='MiB'/></numa></cpu>";
    let xml = with_elements(numa);
    let conversion = run(&xml);
    assert_quiet(&conversion, &xml);
    let machine = conversion.machine;
    // The cells' memory is the machine's.
    assert_eq!(machine.memory, witvirt_sdk::core::ByteSize::mib(48));
    let nodes: Vec<_> =
        machine.cpu.numa.iter().map(|node| (node.cpus.clone(), node.distances.clone())).collect();
    assert_eq!(nodes, [(vec![0, 3], vec![10, 21]), (vec![1, 2], vec![21, 10])]);
    for wrong in ["cpus='0-9'", "cpus='0-x'", "cpus='0-65535'"] {
        let xml = xml.replace("cpus='0-1,3,^1'", wrong);
        assert!(!errors(&run(&xml)).is_empty(), "{wrong}");
    }
}

#[test]
fn parts_of_the_board_are_carried_over() {
    use witvirt_sdk::core::spec::{GenerationId, PanicDevice};
    let xml = with_devices("q35", "<panic model='isa'/><panic model='hyperv'/>")
        .replace("<acpi/>", "<acpi/><vmport state='off'/><smm state='on'/><vmcoreinfo/>");
    let xml = xml.replace("</domain>", "<genid/><pm><suspend-to-mem enabled='no'/></pm></domain>");
    let conversion = run(&xml);
    assert_quiet(&conversion, &xml);
    let board = conversion.machine.board;
    assert_eq!((board.acpi, board.ps2, board.vmcoreinfo), (true, true, true));
    assert_eq!((board.vmport, board.smm, board.suspend_to_memory), (Some(false), Some(true), Some(false)));
    assert_eq!(board.generation_id, Some(GenerationId::Auto));
    assert_eq!(board.panic, [PanicDevice::Isa, PanicDevice::Hyperv]);
    assert!(!run(&xml.replace("<acpi/>", "")).machine.board.acpi);
    let odd = xml.replace("<vmport state='off'/>", "<vmport state='on'/><ps2 state='off'/>");
    assert_eq!(errors(&run(&odd)), ["libvirt.features.vmport"]);
}

#[test]
fn clocks_and_timers() {
    for (clock, base) in [
        ("<clock offset='utc'/>", ClockBase::Utc),
        ("<clock offset='localtime'/>", ClockBase::Localtime),
        ("<clock offset='variable' adjustment='0' basis='localtime'/>", ClockBase::Localtime),
        ("<clock offset='absolute' start='1600000000'/>", ClockBase::Absolute(1_600_000_000)),
    ] {
        let xml = with_elements(clock);
        let conversion = run(&xml);
        assert_quiet(&conversion, &xml);
        assert_eq!(conversion.machine.clock.base, base, "{clock}");
    }
    assert_eq!(
        warnings(&run(&with_elements("<clock offset='timezone' timezone='CET'/>"))),
        ["libvirt.clock"]
    );
    assert_eq!(errors(&run(&with_elements("<clock offset='absolute'/>"))), ["libvirt.value.missing"]);
    let xml = with_elements(
        "<clock offset='utc'><timer name='rtc' tickpolicy='catchup'/><timer name='hpet' present='no'/>\
         <timer name='tsc' frequency='1000'/><timer name='hypervclock' present='yes'/></clock>",
    );
    let conversion = run(&xml);
    assert_quiet(&conversion, &xml);
    let timers = &conversion.machine.clock.timers;
    assert_eq!((timers[0].name.as_str(), timers[0].tick), ("rtc", Some(TimerTick::Catchup)));
    assert_eq!((timers[1].present, timers[2].frequency), (Some(false), Some(1000)));
    assert_eq!(timers.len(), 3);
    assert_eq!(conversion.machine.cpu.features[0].name, "hv-time");
}

#[test]
fn ends_become_restart_policies() {
    for (elements, expected) in [
        ("", RestartPolicy::Never),
        ("<on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot>", RestartPolicy::Never),
        ("<on_crash>restart</on_crash>", RestartPolicy::OnFailure),
        ("<on_crash>restart</on_crash><on_poweroff>restart</on_poweroff>", RestartPolicy::Always),
    ] {
        let xml = with_elements(elements);
        let conversion = run(&xml);
        assert_quiet(&conversion, &xml);
        assert_eq!(conversion.machine.restart, expected, "{elements}");
    }
    for elements in [
        "<on_poweroff>preserve</on_poweroff>",
        "<on_reboot>destroy</on_reboot>",
        "<on_crash>coredump-destroy</on_crash>",
        "<on_crash>preserve</on_crash>",
    ] {
        assert_eq!(warnings(&run(&with_elements(elements))), ["libvirt.lifecycle"], "{elements}");
    }
}

#[test]
fn sysinfo_needs_its_mode() {
    let sysinfo = "<sysinfo type='smbios'><bios><entry name='vendor'>V</entry></bios>\
                   <baseBoard><entry name='asset'>A</entry></baseBoard><chassis><entry name='sku'>S</entry></chassis>\
                   <system><entry name='serial'>1</entry></system><oemStrings><entry>x</entry><entry>y</entry></oemStrings></sysinfo>";
    let without = run(&with_elements(sysinfo));
    assert_eq!(warnings(&without), ["libvirt.sysinfo"]);
    let xml = with_elements(sysinfo).replace("</os>", "<smbios mode='sysinfo'/></os>");
    let conversion = run(&xml);
    assert_quiet(&conversion, &xml);
    let tables = &conversion.machine.smbios.tables;
    let kinds: Vec<_> = tables.iter().map(|table| (table.kind, table.fields[0].0.as_str())).collect();
    assert_eq!(kinds, [(0, "vendor"), (1, "serial"), (2, "asset"), (3, "sku"), (11, "value")]);
    assert_eq!(tables[4].fields.len(), 2);
    let nothing = with_elements("").replace("</os>", "<smbios mode='sysinfo'/></os>");
    assert_eq!(errors(&run(&nothing)), ["libvirt.sysinfo"]);
    let uuid = "<sysinfo type='smbios'><system><entry name='uuid'>4dea22b3-1d52-48f3-a516-782e98ab3fa0</entry></system></sysinfo>";
    let other = with_elements(uuid).replace("</os>", "<smbios mode='sysinfo'/></os>");
    assert_eq!(errors(&run(&other)), ["libvirt.value.invalid"]);
    assert_eq!(errors(&run(&with_elements("<sysinfo type='fwcfg'/>"))), ["libvirt.sysinfo.fwcfg"]);
}

#[test]
fn texts_and_metadata() {
    let xml = with_elements(
        "<title>T</title><description>two\nlines</description>\
         <metadata><o:libosinfo xmlns:o='http://libosinfo.org/xmlns/libvirt/domain/1.0'>\
         <o:os id='http://microsoft.com/win/11'/></o:libosinfo></metadata>",
    );
    let conversion = run(&xml);
    assert_quiet(&conversion, &xml);
    let machine = conversion.machine;
    assert_eq!((machine.description.as_deref(), machine.os.as_deref()), (Some("T"), Some("windows")));
    assert_eq!(machine.annotations["libvirt.org/description"], "two\nlines");
    assert_eq!(machine.annotations["libosinfo.org/id"], "http://microsoft.com/win/11");
}

#[test]
fn qemu_arguments_are_kept_as_they_are() {
    let qemu = "xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'";
    let with_qemu = |inside: &str| with_elements(inside).replacen("<domain ", &format!("<domain {qemu} "), 1);
    let xml = with_qemu(
        "<q:commandline><q:arg value='-device'/><q:arg value=' x,y=&quot;z&quot; '/></q:commandline>",
    );
    let conversion = run(&xml);
    assert_quiet(&conversion, &xml);
    assert_eq!(conversion.machine.qemu_arguments, ["-device", " x,y=\"z\" "]);
    let environment = with_qemu("<q:commandline><q:env name='A' value='b'/></q:commandline>");
    assert_eq!(warnings(&run(&environment)), ["libvirt.qemu.environment"]);
    assert_eq!(errors(&run(&with_qemu("<q:override/>"))), ["libvirt.qemu.override"]);
    // The prefix means nothing; only the namespace does.
    let foreign = with_elements("<commandline><arg value='-x'/></commandline>");
    assert_eq!(warnings(&run(&foreign)), ["libvirt.unknown.element"]);
    assert_eq!(errors(&run(&with_elements("<launchSecurity type='sev'/>"))), ["libvirt.security"]);
}
