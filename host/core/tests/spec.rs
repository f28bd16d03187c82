//! The machine spec as users write it: what is accepted, what is refused and in which words.
#![allow(missing_docs)]

use proptest::prelude::*;
use witvirt_core::spec::{
    DataFile, DiskSource, Firmware, FirmwareFile, MacAddress, MachineSpec, NicModel, RunStrategy,
};
use witvirt_core::{ByteSize, Digest};

const SMALL: &str = "name = \"web\"\nmemory = \"512MiB\"\n";

fn parse(text: &str) -> Result<MachineSpec, toml::de::Error> {
    toml::from_str(text)
}

fn problems(more: &str) -> Vec<String> {
    let spec = parse(&format!("{SMALL}{more}")).expect("the text parses");
    spec.validate().iter().map(ToString::to_string).collect()
}

#[test]
fn the_smallest_machine_has_a_serial_port_and_no_problems() {
    let spec = parse(SMALL).expect("the text parses");
    assert_eq!(spec.memory, ByteSize::mib(512));
    assert_eq!(spec.cpu.count, 1);
    assert_eq!(spec.serials.len(), 1);
    assert!(spec.validate().is_empty());
}

#[test]
fn json_and_toml_say_the_same() {
    let text = format!(
        "{SMALL}os = \"linux\"\nrestart = \"on-failure\"\nstop-timeout = 5\n\
         [cpu]\ncount = 4\nmodel = {{ named = \"Haswell-v4\" }}\ntopology = {{ sockets = 1, cores = 2, threads = 2 }}\n\
         [boot]\nfirmware = {{ uefi = {{ code = \"/fw/code.fd\", vars-template = \"/fw/vars.fd\" }} }}\n\
         [[disks]]\nname = \"root\"\nsource = {{ image = \"debian\" }}\nboot-index = 1\n\
         [[disks]]\nname = \"data\"\nsource = {{ volume = {{ name = \"data\", size = \"10GiB\" }} }}\nbus = \"scsi\"\n\
         [[disks]]\nname = \"cd\"\ndevice = \"cdrom\"\nbus = \"sata\"\n\
         [[interfaces]]\nmodel = \"e1000-82545em\"\nmac = \"52:54:00:00:00:01\"\n\
         forwards = [{{ host-port = 2222, guest-port = 22 }}]\n"
    );
    let spec = parse(&text).expect("the text parses");
    assert!(spec.validate().is_empty(), "{:?}", spec.validate());
    assert_eq!(spec.interfaces[0].model, NicModel::E100082545em);
    assert!(matches!(&spec.disks[0].source, Some(DiskSource::Image(name)) if name == "debian"));
    let json = serde_json::to_string(&spec).expect("a spec is JSON");
    assert_eq!(serde_json::from_str::<MachineSpec>(&json).expect("and back"), spec);
}

#[test]
fn a_typo_is_refused_by_name() {
    let error = parse(&format!("{SMALL}memroy = 5\n")).expect_err("an unknown key");
    assert!(error.to_string().contains("memroy"), "{error}");
    let error = parse("name = \"../etc\"\nmemory = 1\n").expect_err("a path as name");
    assert!(error.to_string().contains("not a name"), "{error}");
}

#[test]
fn what_types_cannot_say_is_a_problem_with_its_path() {
    let disk = |text: &str| format!("[[disks]]\nname = \"d\"\n{text}\n");
    for (more, expected) in [
        ("[cpu]\ncount = 0\n".to_owned(), "cpu.count"),
        ("[cpu]\ncount = 4\ntopology = { sockets = 3, cores = 1, threads = 1 }\n".to_owned(), "cpu.topology"),
        ("[cpu]\nmodel = { named = \"qemu64,+svm\" }\n".to_owned(), "cpu.model.named"),
        ("[boot]\ncmdline = \"quiet\"\n".to_owned(), "boot: initrd and cmdline need a kernel"),
        ("[boot]\nkernel = \"vmlinuz\"\n".to_owned(), "boot.kernel: not an absolute path"),
        (disk(""), "disks[0].source"),
        (disk("source = { blank = { size = 1000 } }"), "disks[0].source.size"),
        (disk("source = { blank = { size = 512 } }\nserial = \"a\\nb\""), "disks[0].serial"),
        (disk("device = \"cdrom\"\nbus = \"virtio\""), "disks[0].bus"),
        (disk("source = { file = { path = \"x.raw\" } }"), "disks[0].source.file.path"),
        (disk("source = { image = \"a\" }").repeat(2), "disks[1].name: d twice"),
        (
            "[[interfaces]]\nsource = \"none\"\nforwards = [{ host-port = 1, guest-port = 1 }]\n".to_owned(),
            "interfaces[0].forwards",
        ),
        ("vnc = { port = 80 }\n".to_owned(), "vnc.port"),
        ("serials = [{ port = 1 }, { port = 1 }]\n".to_owned(), "serials[1].port: used twice"),
        ("qemu-arguments = [\"a\\u0000b\"]\n".to_owned(), "qemu-arguments[0]"),
        (disk("source = { image = \"a\" }\nphysical-block-size = 1000"), "disks[0].physical-block-size"),
        (disk("source = { image = \"a\" }\nwwn = \"5000\""), "disks[0].wwn"),
        (disk("source = { image = \"a\" }\nvendor = \"too long a name\""), "disks[0].vendor"),
        (disk("source = { image = \"a\" }\nqueue-size = 100"), "disks[0].queue-size"),
        (
            disk("source = { image = \"a\" }\ngeometry = { cylinders = 0, heads = 1, sectors = 1 }"),
            "disks[0].geometry",
        ),
        ("[[interfaces]]\nrx-queue-size = 100\n".to_owned(), "interfaces[0].rx-queue-size"),
        ("channels = [{ name = \"a\" }, { name = \"a\" }]\n".to_owned(), "channels[1].name: used twice"),
        ("[[controllers]]\nkind = \"usb\"\nports = 0\n".to_owned(), "controllers[0].ports"),
        ("[board]\npanic = [\"isa\", \"isa\"]\n".to_owned(), "board.panic"),
        (
            "inputs = [{ kind = \"mouse\", bus = \"ps2\" }]\n[board]\nps2 = false\n".to_owned(),
            "inputs[0].bus",
        ),
        ("cpu = { settings = [{ name = \"host\", value = \"1\" }] }\n".to_owned(), "cpu.settings[0].name"),
        (
            "cpu = { settings = [{ name = \"phys-bits\", value = \"1\" }] }\n".to_owned(),
            "cpu.settings[0].value",
        ),
        (
            "cpu = { settings = [{ name = \"hv-vendor-id\", value = \"a,b=c\" }] }\n".to_owned(),
            "cpu.settings[0].value",
        ),
        ("cpu = { numa = [{ memory = \"1MiB\" }] }\n".to_owned(), "cpu.numa: the nodes' memory"),
        ("cpu = { numa = [{ cpus = [1], memory = \"1MiB\" }] }\n".to_owned(), "cpu.numa[0].cpus"),
        ("cpu = { numa = [{ memory = \"1MiB\", distances = [20] }] }\n".to_owned(), "cpu.numa[0].distances"),
        (
            "[[smbios.tables]]\ntype = 1\nfields = [[\"serial\", \"a\\u0007\"]]\n".to_owned(),
            "smbios.tables[0].serial",
        ),
    ] {
        let found = problems(&more);
        assert!(found.iter().any(|problem| problem.starts_with(expected)), "{more}: {found:?}");
    }
}

#[test]
fn addresses_and_uuids_made_from_names_are_stable_and_differ() {
    let spec = parse(SMALL).expect("the text parses");
    let other = parse("name = \"db\"\nmemory = 1048576\n").expect("the text parses");
    assert_eq!(spec.effective_uuid(), spec.clone().effective_uuid());
    assert_ne!(spec.effective_uuid(), other.effective_uuid());
    let mac = |spec: &MachineSpec, index| MacAddress::derived(&spec.effective_uuid(), index);
    assert_ne!(mac(&spec, 0), mac(&spec, 1));
    assert_ne!(mac(&spec, 0), mac(&other, 0));
    assert!(mac(&spec, 0).to_string().starts_with("52:54:00:"));
    assert!("01:00:5e:00:00:01".parse::<MacAddress>().is_err(), "a multicast address");
}

#[test]
fn the_schema_is_closed() {
    let schema = MachineSpec::json_schema();
    assert_eq!(schema["title"], "witvirt machine");
    assert_eq!(schema["additionalProperties"], false);
}

proptest! {
    #[test]
    fn parsers_never_panic(text in ".{0,80}") {
        let _ = text.parse::<ByteSize>();
        let _ = text.parse::<Digest>();
        let _ = text.parse::<MacAddress>();
        let _ = witvirt_core::Name::new(text.clone());
        let _ = parse(&text);
    }

    #[test]
    fn whole_sizes_survive_their_text(bytes in 0u64..=u64::MAX >> 20) {
        for (unit, shift) in [("", 0), ("k", 10), ("MiB", 20)] {
            prop_assert_eq!(format!("{bytes}{unit}").parse(), Ok(ByteSize(bytes << shift)));
        }
    }
}

fn data(label: &str, files: &str) -> String {
    format!(
        "[[disks]]\nname = \"seed\"\nsource = {{ data = {{ label = \"{label}\", files = [{files}] }} }}\n"
    )
}

#[test]
fn files_of_a_data_disk_are_text_or_base64() {
    let files =
        "{ path = \"user-data\", text = \"#cloud-config\\n\" }, { path = \"a/b\", base64 = \"AAEC\\n/w==\" }";
    let spec = parse(&format!("{SMALL}{}", data("cidata", files))).expect("it parses");
    assert!(spec.validate().is_empty(), "{:?}", spec.validate());
    let Some(DiskSource::Data { files, .. }) = &spec.disks[0].source else { panic!("a data disk") };
    assert_eq!(files[0].content(), Ok(b"#cloud-config\n".to_vec()));
    assert_eq!(files[1].content(), Ok(vec![0, 1, 2, 0xff]));
    for bytes in [&b"text"[..], &[0xff, 0, 7]] {
        assert_eq!(DataFile::bytes("x", bytes).content(), Ok(bytes.to_vec()));
    }
    assert!(!format!("{spec:?}").contains("#cloud-config"), "a content is no debug output");
}

#[test]
fn what_is_wrong_with_a_data_disk_is_told_without_its_content() {
    let content = "text = \"s3cret\"";
    for (label, files, expected) in [
        ("", String::new(), "label: not 1 to 32"),
        ("é", String::new(), "label: not 1 to 32"),
        ("x", "{ path = \"a\" }".into(), "files[0]: no content"),
        ("x", format!("{{ path = \"a\", {content}, base64 = \"\" }}"), "files[0]: \"text\" and \"base64\""),
        ("x", "{ path = \"a\", base64 = \"s3cret!\" }".into(), "files[0]: \"base64\" is not"),
        (
            "x",
            format!("{{ path = \"a\", {content} }}, {{ path = \"a\", {content} }}"),
            "files[1].path: used twice",
        ),
        (
            "x",
            format!("{{ path = \"a/b\", {content} }}, {{ path = \"a\", {content} }}"),
            "files[0].path: lies below",
        ),
        ("x", format!("{{ path = \"../a\", {content} }}"), "files[0].path: not a path"),
        ("x", format!("{{ path = \"/a\", {content} }}"), "files[0].path: not a path"),
        ("x", format!("{{ path = \"a:b\", {content} }}"), "files[0].path: a name with"),
        ("x", format!("{{ path = \"{}\", {content} }}", "a".repeat(129)), "files[0].path: a name of more"),
        ("x", format!("{{ path = \"{}a\", {content} }}", "d/".repeat(8)), "files[0].path: more than 8"),
        (
            "x",
            format!("{{ path = \"a\", text = \"{}\" }}", "s3cret".repeat(180_000)),
            "files: more than 1.00 MiB",
        ),
    ] {
        let found = problems(&data(label, &files));
        assert!(found.iter().any(|problem| problem.contains(expected)), "{expected}: {found:?}");
        assert!(!found.join("\n").contains("s3cret"), "{found:?}");
    }
}

#[test]
fn what_was_shown_without_its_content_makes_no_machine() {
    let withheld = format!("{{ path = \"a\", withheld = {{ size = 3, sha256 = \"{}\" }} }}", "0".repeat(64));
    assert!(problems(&data("x", &withheld))[0].contains("withheld"), "{:?}", problems(&data("x", &withheld)));
}

#[test]
fn firmware_is_a_path_or_an_image() {
    let uefi =
        |code: &str| format!("[boot.firmware.uefi]\ncode = {code}\nvars-template = {{ image = \"vars\" }}\n");
    let spec = parse(&format!("{SMALL}{}", uefi("\"/fw/code.fd\""))).expect("a path");
    let Firmware::Uefi { code, vars_template, .. } = &spec.boot.firmware else { panic!("uefi") };
    assert_eq!((code, vars_template), (&"/fw/code.fd".into(), &Some(FirmwareFile::image("vars"))));
    assert!(problems(&uefi("\"code.fd\""))[0].contains("not an absolute path"));
    assert!(problems(&uefi("{ image = \"\" }"))[0].contains("not an image name"));
    parse(&format!("{SMALL}{}", uefi("{ image = \"a\", imgae = \"b\" }"))).expect_err("an unknown key");
    let json = serde_json::to_string(&spec).expect("JSON");
    assert_eq!(serde_json::from_str::<MachineSpec>(&json).expect("and back"), spec);
}

#[test]
fn a_restart_policy_may_not_contradict_the_strategy() {
    let agree = [
        ("always", "never always"),
        ("halted", "never always"),
        ("manual", "never on-failure always"),
        ("rerun-on-failure", "never on-failure"),
        ("once", "never"),
    ];
    for (run, policies) in agree {
        for policy in ["never", "on-failure", "always"] {
            let found = problems(&format!("run = \"{run}\"\nrestart = \"{policy}\"\n"));
            assert_eq!(
                found.is_empty(),
                policies.split(' ').any(|p| p == policy),
                "{run} {policy}: {found:?}"
            );
        }
    }
    assert_eq!(parse(SMALL).expect("it parses").run, RunStrategy::Manual);
}
