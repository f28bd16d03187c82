//! Instancetypes, preferences and defaults.

use domain_kubevirt::{Conversion, Settings, convert};
use witvirt_sdk::domain::Options;

const TYPE: &str = "
---
apiVersion: instancetype.kubevirt.io/v1beta1
kind: VirtualMachineInstancetype
metadata: {name: size}
spec:
  cpu: {guest: 8, model: Haswell, dedicatedCPUPlacement: true}
  memory: {guest: 2Gi, overcommitPercent: 10}
  annotations: {size: big}
";

fn preference(spec: &str) -> String {
    format!(
        "\n---\napiVersion: instancetype.kubevirt.io/v1beta1\nkind: VirtualMachinePreference\nmetadata: {{name: taste}}\n\
         spec: {{{spec}}}\n"
    )
}

fn machine(domain: &str) -> String {
    format!(
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nmetadata: {{name: vm}}\nspec:\n  runStrategy: Manual\n  \
         instancetype: {{kind: VirtualMachineInstancetype, name: size}}\n  \
         preference: {{kind: virtualmachinepreferences, name: taste}}\n  template:\n    spec:\n      domain: {{{domain}}}\n      \
         volumes: [{{name: a, emptyDisk: {{capacity: 1Gi}}}}]\n"
    )
}

fn run(text: &str) -> Conversion {
    convert(text, &Options::default(), &Settings::default()).unwrap()
}

/// Code, path and message of each diagnostic.
fn told(conversion: &Conversion) -> String {
    let lines = conversion.diagnostics.iter().map(|d| {
        format!("{:?} {} {}: {}\n", d.severity, d.code, d.path.as_deref().unwrap_or("-"), d.message)
    });
    lines.collect()
}

#[test]
fn sizes_and_tastes_are_written_into_the_machine() {
    let taste = preference(
        "cpu: {preferredCPUTopology: spread, spreadOptions: {across: SocketsCoresThreads, ratio: 2}, \
         preferredCPUFeatures: [{name: vmx}]}, devices: {preferredDiskBus: virtio, preferredInterfaceModel: e1000, \
         preferredDiskCache: none, preferredRng: {}, preferredAutoattachInputDevice: true, preferredInputBus: virtio, \
         preferredPanicDeviceModel: pvpanic}, firmware: {preferredUseEfi: true, preferredUseSecureBoot: false}, \
         machine: {preferredMachineType: pc-q35-9.0}, clock: {preferredClockOffset: {utc: {}}, \
         preferredTimer: {kvm: {present: false}}}, preferredTerminationGracePeriodSeconds: 7, annotations: {a: b}",
    );
    let conversion = run(&(machine("devices: {}") + TYPE + &taste));
    let xml = &conversion.xml;
    for part in [
        "<topology sockets='2' cores='2' threads='2'/>",
        "<model>Haswell</model>",
        "<feature name='vmx' policy='require'/>",
        "<memory unit='b'>2147483648</memory>",
        "<target dev='vda' bus='virtio'/>",
        "cache='none'",
        "<model type='e1000'/>",
        "<rng model='virtio'>",
        "<input type='tablet' bus='virtio'>",
        "<panic model='pvpanic'/>",
        "<os firmware='efi'>",
        "<feature enabled='no' name='secure-boot'/>",
        "machine='pc-q35-9.0'",
        "<timer name='kvmclock' present='no'/>",
        "<w:stop timeout='7'/>",
        "<w:annotation name='size'>big</w:annotation>",
        "<w:annotation name='a'>b</w:annotation>",
        "<w:annotation name='kubevirt.io/instancetype-name'>size</w:annotation>",
    ] {
        assert!(xml.contains(part), "{part}\n{xml}");
    }
    let told = told(&conversion);
    assert!(!told.contains("Error") && !told.contains("kubevirt.unknown"), "{told}");
    // Where a value came from is said with it.
    assert!(told.contains("domain.cpu.dedicatedCpuPlacement: the host's scheduler places the CPUs (from VirtualMachineInstancetype size)"), "{told}");
}

#[test]
fn the_machine_wins_over_a_preference() {
    let taste = preference(
        "devices: {preferredDiskBus: sata, preferredInterfaceModel: e1000, preferredVideoType: vga}, \
         features: {preferredHyperv: {relaxed: {}, vapic: {enabled: false}}}, machine: {preferredMachineType: pc}",
    );
    let domain = "machine: {type: q35}, features: {hyperv: {vapic: {}}}, devices: {video: {type: bochs}, disks: [{name: a, disk: {bus: scsi}}], \
                  interfaces: [{name: n, model: rtl8139, masquerade: {}}]}";
    let text = machine(domain).replace("volumes:", "networks: [{name: n, pod: {}}]\n      volumes:");
    let conversion = run(&(text + TYPE + &taste));
    for part in [
        "bus='scsi'",
        "type='rtl8139'",
        "machine='q35'",
        "<model type='bochs'",
        "<relaxed state='on'/>",
        "<vapic state='on'/>",
    ] {
        assert!(conversion.xml.contains(part), "{part}\n{}", conversion.xml);
    }
}

#[test]
fn what_both_say_is_a_conflict_with_both_places() {
    for (domain, path) in [
        (
            "cpu: {cores: 2}, devices: {}",
            "domain.cpu.cores: conflicts with VirtualMachineInstancetype/size:spec.cpu.guest",
        ),
        (
            "cpu: {model: host-model}, devices: {}",
            "domain.cpu.model: conflicts with VirtualMachineInstancetype/size:spec.cpu.model",
        ),
        ("memory: {guest: 1Gi}, devices: {}", "domain.memory.guest: conflicts with"),
        (
            "resources: {requests: {memory: 1Gi}}, devices: {}",
            "domain.resources.requests.memory: conflicts with",
        ),
        ("resources: {limits: {cpu: 1}}, devices: {}", "domain.resources.limits.cpu: conflicts with"),
    ] {
        let told = told(&run(&(machine(domain) + TYPE + &preference(""))));
        assert!(told.contains(path), "{domain}: {told}");
    }
    // What Go cannot tell from absent is no conflict.
    let told = told(&run(&(machine("cpu: {cores: 0, dedicatedCpuPlacement: false}, devices: {}")
        + TYPE
        + &preference(""))));
    assert!(!told.contains("conflict"), "{told}");
}

#[test]
fn requirements_are_checked() {
    let taste = preference("requirements: {cpu: {guest: 16}, memory: {guest: 3Gi}, architecture: arm64}");
    let told = told(&run(&(machine("devices: {}") + TYPE + &taste)));
    for part in
        ["requires 16 processors", "requires 3221225472 bytes of memory", "requires the architecture arm64"]
    {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn references_that_lead_nowhere_say_so() {
    let told_of = |text: &str| told(&run(text));
    let told = told_of(&machine("devices: {}"));
    assert!(told.contains("spec.instancetype: VirtualMachineInstancetype size is not in the text"), "{told}");
    let told = told_of(&machine("devices: {}").replace("name: size", "inferFromVolume: a"));
    assert!(told.contains("cannot be inferred without a cluster"), "{told}");
    let told = told_of(&machine("devices: {}").replace("kind: VirtualMachineInstancetype", "kind: Pod"));
    assert!(told.contains("\"Pod\" is not valid here: use VirtualMachineClusterInstancetype or"), "{told}");
    let told =
        told_of(&(machine("devices: {}") + TYPE + &preference("devcies: {}, cpu: {preferedCPUTopology: x}")));
    assert!(told.contains("VirtualMachinePreference/taste:spec.devcies"), "{told}");
    assert!(told.contains("did you mean \"preferredCPUTopology\"?"), "{told}");
}
