//! Field groups: what becomes of them, and what is said.

use domain_kubevirt::{HostPorts, Settings, context, convert};
use witvirt_sdk::domain::Options;

fn told(text: &str, options: &Options, settings: &Settings) -> (String, String) {
    let conversion = convert(text, options, settings).unwrap();
    let lines = conversion.diagnostics.iter().map(|d| {
        format!("{:?} {} {}: {}\n", d.severity, d.code, d.path.as_deref().unwrap_or("-"), d.message)
    });
    (conversion.xml, lines.collect())
}

fn run(text: &str) -> (String, String) {
    told(text, &Options::default(), &Settings::default())
}

fn instance(spec: &str) -> String {
    format!(
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {{name: vm}}\nspec: {{{spec}}}\n"
    )
}

fn vm(spec: &str) -> String {
    format!(
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nmetadata: {{name: vm}}\nspec: {{{spec}, template: {{spec: {{domain: \
         {{memory: {{guest: 1Gi}}, devices: {{}}}}}}}}}}\n"
    )
}

const MEMORY: &str = "domain: {memory: {guest: 1Gi}, devices: {}}";

#[test]
fn run_strategies() {
    for (spec, expected) in [
        ("running: true", "<w:run strategy='always'/>"),
        ("running: false", "<w:run strategy='halted'/>"),
        ("runStrategy: Always", "<w:run strategy='always'/>"),
        ("runStrategy: Halted", "<w:run strategy='halted'/>"),
        ("runStrategy: Manual", "<w:run strategy='manual'/>"),
        ("runStrategy: RerunOnFailure", "<w:run strategy='rerun-on-failure'/>"),
        ("runStrategy: Once", "<w:run strategy='once'/>"),
    ] {
        let (xml, told) = run(&vm(spec));
        assert!(xml.contains(expected) && !told.contains("Error"), "{spec}: {told}{xml}");
    }
    for (spec, part) in [
        (
            "running: true, runStrategy: Always",
            "Error kubevirt.run spec.runStrategy: running and runStrategy exclude",
        ),
        (
            "runStrategy: WaitAsReceiver",
            "Error kubevirt.run spec.runStrategy: WaitAsReceiver waits for a migration",
        ),
        ("runStrategy: Sometimes", "\"Sometimes\" is not valid here: use one of Always"),
        ("updateVolumesStrategy: Migration", "Warning kubevirt.run spec: neither running nor runStrategy"),
    ] {
        let (_, told) = run(&vm(spec));
        assert!(told.contains(part), "{spec}: {told}");
    }
    assert!(run(&instance(MEMORY)).0.contains("<w:run strategy='once'/>"));
}

#[test]
fn wrong_types_say_what_was_found_and_what_is_wanted() {
    for (spec, part) in [
        (
            "domain: {memory: {guest: [1]}, devices: {}}",
            "spec.domain.memory.guest: found a list, a number or a string is wanted",
        ),
        ("domain: {memory: 1, devices: {}}", "spec.domain.memory: found the number 1, an object is wanted"),
        (
            "hostname: 5, domain: {memory: {guest: 1Gi}, devices: {}}",
            "spec.hostname: found the number 5, a string (put it in quotes) is wanted",
        ),
        (
            "domain: {memory: {guest: 1Gi}, devices: {disks: {}}}",
            "spec.domain.devices.disks: found an object, a list is wanted",
        ),
        (
            "domain: {memory: {guest: 1Gi}, cpu: {cores: two}, devices: {}}",
            "spec.domain.cpu.cores: found the string \"two\", a whole number is wanted",
        ),
        (
            "domain: {memory: {guest: 1Gi}, devices: {autoattachMemBalloon: 'no'}}",
            "autoattachMemBalloon: found the string \"no\", true or false is wanted",
        ),
        ("domain: {memory: {guest: lots}, devices: {}}", "\"lots\" is not valid here: use a quantity"),
        ("domain: {devices: {}}", "Error kubevirt.value.missing spec.domain: how much memory is not said"),
        (
            "domain: {memory: {gust: 1Gi, guest: 1Gi}, devices: {}}",
            "\"gust\" is no field of KubeVirt's here: did you mean \"guest\"?",
        ),
    ] {
        let (_, told) = run(&instance(spec));
        assert!(told.contains(part), "{spec}: {told}");
    }
}

#[test]
fn processors_and_memory_come_from_resources_where_nothing_else_says() {
    let (xml, _) = run(&instance(
        "domain: {resources: {requests: {memory: 64M, cpu: 1500m}, limits: {cpu: '3'}}, devices: {}}",
    ));
    assert!(xml.contains("<memory unit='b'>64000000</memory>"), "{xml}");
    assert!(xml.contains("<topology sockets='3' cores='1' threads='1'/>"), "{xml}");
    let (xml, _) =
        run(&instance("domain: {resources: {requests: {cpu: 1500m}, limits: {memory: 1Gi}}, devices: {}}"));
    assert!(xml.contains("<vcpu placement='static'>2</vcpu>"), "{xml}");
    assert!(xml.contains("<memory unit='b'>1073741824</memory>"), "{xml}");
}

#[test]
fn volumes_without_disks_get_one() {
    let (xml, told) = run(&instance(&format!(
        "{MEMORY}, volumes: [{{name: root, containerDisk: {{image: registry.example/a}}}}, {{name: b, emptyDisk: {{capacity: 1Mi}}}}]"
    )));
    assert!(
        xml.contains("<target dev='sda' bus='sata'/>") && xml.contains("<target dev='sdb' bus='sata'/>"),
        "{xml}"
    );
    assert!(xml.contains("<w:remote url='docker://registry.example/a'/>"), "{xml}");
    assert!(xml.contains("<interface type='user'>"), "{xml}");
    assert!(!told.contains("Error"), "{told}");
}

#[test]
fn volumes_that_cannot_be_are_named() {
    let disk = |source: &str| instance(&format!("{MEMORY}, volumes: [{{name: a, {source}}}]"));
    for (source, part) in [
        ("secret: {secretName: gone}", "spec.volumes[0].secret: Secret \"gone\" is not in the text"),
        ("configMap: {name: gone}", "ConfigMap \"gone\" is not in the text"),
        (
            "cloudInitNoCloud: {secretRef: {name: gone}}",
            "spec.volumes[0].cloudInitNoCloud.secretRef: Secret \"gone\" is not in the text",
        ),
        ("cloudInitNoCloud: {}", "there is neither user data nor network data"),
        (
            "cloudInitNoCloud: {userData: a, userDataBase64: YQ==}",
            "only one of userData, userDataBase64 and secretRef",
        ),
        ("cloudInitNoCloud: {userDataBase64: '*'}", "userDataBase64: is not base64"),
        ("sysprep: {}", "use one of configMap and secret"),
        ("serviceAccount: {serviceAccountName: x}", "there is no cluster that would give the guest a token"),
        ("containerPath: {path: /a}", "shares no directories"),
        ("emptyDisk: {}", "\"capacity\" is missing"),
        ("emptyDisk: {capacity: 1Gi}, hostDisk: {path: /a, type: Disk}", "holds several things at once"),
        ("emptydisk: {capacity: 1Gi}", "did you mean \"emptyDisk\"?"),
        ("containerDisk: {image: a, path: /b/c}", "is not directly below /disk"),
        ("hostDisk: {path: a, type: Disk}", "\"a\" is not an absolute path"),
        (
            "dataVolume: {name: gone}",
            "Info kubevirt.volume.size spec.volumes[0].dataVolume: the daemon's volume gone has to be there",
        ),
    ] {
        let (_, told) = run(&disk(source));
        assert!(told.contains(part), "{source}: {told}");
    }
    let optional = run(&disk("configMap: {name: gone, optional: true}"));
    assert!(
        optional.0.contains("<w:data label='cfgdata'/>") && !optional.1.contains("Error"),
        "{}",
        optional.1
    );
}

#[test]
fn secrets_are_not_repeated() {
    let text = instance(&format!("{MEMORY}, volumes: [{{name: a, secret: {{secretName: s}}}}]"))
        + "---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {a: 'hunter*two'}\nstringData: {b: 12345678}\n";
    let (_, told) = run(&text);
    assert!(told.contains("Error kubevirt.value.invalid Secret/s:data.a: is not base64"), "{told}");
    assert!(told.contains("Secret/s:stringData.b: found a number, a string is wanted"), "{told}");
    assert!(!told.contains("hunter") && !told.contains("12345678"), "{told}");
}

#[test]
fn cloud_init_gets_what_a_cluster_would_give_it() {
    let text = instance(&format!(
        "hostname: web, {MEMORY}, accessCredentials: [{{sshPublicKey: {{source: {{secret: {{secretName: keys}}}}, propagationMethod: \
         {{configDrive: {{}}}}}}}}], volumes: [{{name: a, cloudInitConfigDrive: {{userData: '#cloud-config'}}}}, \
         {{name: b, cloudInitNoCloud: {{userData: x}}}}]"
    )) + "---\napiVersion: v1\nkind: Secret\nmetadata: {name: keys}\nstringData: {one: ssh-a, two: ssh-b}\n";
    let (xml, told) = run(&text);
    for part in [
        "<w:data label='config-2'>",
        "<w:file path='openstack/latest/user_data' encoding='text'>#cloud-config</w:file>",
        "\"instance_id\":\"vm.default\",\"hostname\":\"web\"",
        "\"public_keys\":{\"0\":\"ssh-a\",\"1\":\"ssh-b\"}",
    ] {
        assert!(xml.contains(part), "{part}\n{xml}");
    }
    assert!(told.contains("Error kubevirt.cloud-init.second spec.volumes[1].cloudInitNoCloud"), "{told}");
    let long = "x".repeat(3000);
    let (_, told) =
        run(&instance(&format!("{MEMORY}, volumes: [{{name: a, cloudInitNoCloud: {{userData: {long}}}}}]")));
    assert!(told.contains("Warning kubevirt.cloud-init.size") && !told.contains("Error"), "{told}");
}

#[test]
fn credentials_that_do_not_arrive_are_errors() {
    for (method, part) in [
        ("noCloud: {}", "needs a volume with cloudInitNoCloud"),
        ("qemuGuestAgent: {users: [a]}", "the guest agent is not asked"),
    ] {
        let (_, told) = run(&instance(&format!(
            "{MEMORY}, accessCredentials: [{{sshPublicKey: {{source: {{secret: {{secretName: k}}}}, propagationMethod: {{{method}}}}}}}]"
        )));
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn data_volumes_become_volumes_or_images() {
    let template = |source: &str, volume: &str| {
        format!(
            "apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nmetadata: {{name: vm}}\nspec:\n  running: false\n  dataVolumeTemplates:\n  - \
             metadata: {{name: dv}}\n    spec: {{{source}, storage: {{resources: {{requests: {{storage: 2Gi}}}}}}}}\n  template:\n    spec:\n      \
             {MEMORY}\n      volumes: [{{name: a, {volume}}}]\n"
        )
    };
    let named = "dataVolume: {name: dv}";
    for (source, volume, part, said) in [
        ("source: {blank: {}}", named, "<w:volume name='dv' size='2147483648'/>", ""),
        (
            "source: {blank: {}}",
            "persistentVolumeClaim: {claimName: dv}",
            "<w:volume name='dv' size='2147483648'/>",
            "",
        ),
        (
            "source: {http: {url: 'https://images.example/a.qcow2'}}",
            named,
            "<w:remote url='https://images.example/a.qcow2'/>",
            "no volume dv is made",
        ),
        (
            "source: {registry: {url: 'docker://registry.example/a'}}",
            named,
            "<w:remote url='docker://registry.example/a'/>",
            "no volume dv is made",
        ),
        ("source: {registry: {url: 'oci-archive:a'}}", named, "", "use a URL that starts with docker://"),
        (
            "source: {pvc: {name: b, namespace: c}}",
            named,
            "<w:volume name='dv'/>",
            "pvc: nothing is copied from there",
        ),
        ("sourceRef: {kind: DataSource, name: x}", named, "<w:volume name='dv'/>", "has to be there already"),
        (
            "source: {blank: {}}",
            "emptyDisk: {capacity: 1Gi}",
            "<w:blank size='1073741824'/>",
            "no volume of the machine is this one",
        ),
        ("source: {}", named, "", "says nothing of what it is filled with"),
    ] {
        let (xml, told) = run(&template(source, volume));
        assert!(xml.contains(part) && told.contains(said), "{source}: {told}{xml}");
    }
}

#[test]
fn ports_lead_where_the_setting_says() {
    let text = instance(
        "domain: {memory: {guest: 1Gi}, devices: {interfaces: [{name: n, masquerade: {}, ports: [{port: 22}, {port: 22}, {port: 53, protocol: UDP}]}]}}, networks: [{name: n, pod: {}}]",
    );
    for (rule, part) in [
        (HostPorts::Free, "protocol='tcp' host-port='0' guest-port='22'"),
        (HostPorts::Same, "protocol='udp' host-port='53' guest-port='53'"),
    ] {
        let settings = Settings { host_ports: rule, ..Settings::default() };
        let (xml, told) = told(&text, &Options::default(), &settings);
        assert!(xml.contains(part) && xml.matches("w:forward").count() == 2, "{xml}");
        assert!(told.contains("tcp 22 is listed twice"), "{told}");
    }
    let settings = Settings { host_ports: HostPorts::None, ..Settings::default() };
    assert!(!told(&text, &Options::default(), &settings).0.contains("w:forward"));
}

#[test]
fn names_and_boot_orders_do_not_collide() {
    for (spec, part) in [
        (
            "disks: [{name: a, disk: {bus: virtio}, bootOrder: 1}, {name: b, disk: {bus: virtio}, bootOrder: 1}]",
            "bootOrder: 1 is taken by spec.domain.devices.disks[0].bootOrder",
        ),
        (
            "disks: [{name: a, disk: {bus: virtio}}, {name: a, disk: {bus: virtio}}]",
            "there is another disk called \"a\"",
        ),
        ("disks: [{name: c, disk: {bus: virtio}}]", "there is no volume called \"c\""),
        (
            "disks: [{name: a, disk: {bus: ide}}]",
            "\"ide\" is not valid here: use one of virtio, sata, scsi, usb",
        ),
        ("disks: [{name: a, disk: {bus: virtio}, cdrom: {bus: sata}}]", "use one of disk, lun and cdrom"),
        ("disks: [{name: 'a b', disk: {bus: virtio}}]", "\"a b\" is not valid here"),
        ("disks: [{disk: {bus: virtio}}]", "\"name\" is missing"),
        ("interfaces: [{name: x, bridge: {}}]", "there is no network called \"x\""),
    ] {
        let (_, told) = run(&instance(&format!(
            "domain: {{memory: {{guest: 1Gi}}, devices: {{{spec}}}}}, volumes: [{{name: a, emptyDisk: {{capacity: 1Gi}}}}, {{name: b, emptyDisk: {{capacity: 1Gi}}}}]"
        )));
        assert!(told.contains(part), "{spec}: {told}");
    }
}

#[test]
fn machines_of_one_name_carry_their_namespace() {
    let text =
        |namespace: &str| instance(MEMORY).replace("name: vm", &format!("name: vm, namespace: {namespace}"));
    let both = text("a") + "---\n" + &text("b");
    let options = Options { select: Some("b/vm".to_owned()), ..Options::default() };
    let (xml, _) = told(&both, &options, &Settings::default());
    assert!(xml.contains("<name>b_vm</name>"), "{xml}");
    let options = Options { name: Some(witvirt_sdk::core::Name::new("other").unwrap()), ..options };
    let (xml, _) = told(&both, &options, &Settings::default());
    assert!(xml.contains("<name>other</name>"), "{xml}");
    assert!(run(&text("a")).0.contains("<name>vm</name>"));
}

#[test]
fn the_context_is_what_hooks_get() {
    let text = vm("running: true")
        .replace("name: vm", "name: vm, annotations: {hooks.kubevirt.io/hookSidecars: '[]'}");
    let json: serde_json::Value =
        serde_json::from_str(&context(&text, &Options::default()).unwrap()).unwrap();
    assert_eq!(json["annotations"], serde_json::json!({}));
    assert_eq!(json["resource"]["kind"], "VirtualMachineInstance");
    assert_eq!(json["resource"]["spec"]["domain"]["machine"]["type"], "q35");
    let (_, told) = run(&text);
    assert!(
        told.contains("Warning kubevirt.annotation metadata.annotations[\"hooks.kubevirt.io/hookSidecars\"]"),
        "{told}"
    );
}
