use super::{CreateType, Descriptor, ExtentType};
use crate::ErrorKind;

fn text(create_type: &str, rest: &str) -> String {
    format!(
        "# Disk DescriptorFile\nversion=1\nCID=12Ab\nparentCID=ffffffff\ncreateType=\"{create_type}\"\n{rest}\n"
    )
}

#[test]
fn what_vmware_writes() {
    let text = "# Disk DescriptorFile\r\nversion=1 \r\nencoding=\"windows-1252\"\r\nCID=8f67ca74\r\nparentCID=0172e8a4\r\n\
                createType=\"vmfsSparse\"\r\nparentFileNameHint=\"base disk.vmdk\"\r\n# Extent description\r\n\
                RW 4096 VMFSSPARSE \"a b-delta.vmdk\"\r\n\r\n#DDB\r\nddb.adapterType = \"lsilogic\"\r\n";
    let descriptor = Descriptor::parse(text.as_bytes()).unwrap();
    assert_eq!(descriptor.create_type, CreateType::VmfsSparse);
    assert_eq!(descriptor.cid, Some(0x8f67_ca74));
    assert_eq!(descriptor.parent, Some((0x0172_e8a4, "base disk.vmdk".to_owned())));
    assert_eq!(descriptor.adapter_type.as_deref(), Some("lsilogic"));
    let [extent] = &descriptor.extents[..] else { panic!("{descriptor:?}") };
    assert_eq!(
        (extent.sectors, extent.kind, &*extent.name),
        (4096, ExtentType::VmfsSparse, "a b-delta.vmdk")
    );
}

#[test]
fn names_are_verbatim() {
    for name in [
        "/etc/passwd",
        "../x",
        "json:{\"driver\":\"file\",\"filename\":\"/x\"}",
        "nbd://h/x",
        "\\\\.\\PhysicalDrive0",
        "/dev/sda",
    ] {
        let text = text("monolithicFlat", &format!("RW 8 FLAT \"{name}\" 0"));
        assert_eq!(Descriptor::parse(text.as_bytes()).unwrap().extents[0].name, name);
    }
}

#[test]
fn ends_at_a_zero_byte() {
    let text = text("monolithicFlat", "RW 8 FLAT \"a\" 7");
    let bytes = [text.as_bytes(), b"\0nonsense"].concat();
    let descriptor = Descriptor::parse(&bytes).unwrap();
    assert_eq!((descriptor.cid, descriptor.extents[0].offset), (Some(0x12ab), 7));
}

#[test]
fn every_refusal_names_its_reason() {
    use ErrorKind::{Corrupt, Limit, Unsupported};
    let flat = |line: &str| text("monolithicFlat", line);
    let mut cases = vec![
        (flat("RW -8 FLAT \"a\" 0"), Corrupt, "no number of sectors: \"-8\""),
        (flat("RW +8 FLAT \"a\" 0"), Corrupt, "no number"),
        (flat("RW 0 FLAT \"a\" 0"), Corrupt, "0 sectors"),
        (flat("RW 99999999999999999999 FLAT \"a\" 0"), Corrupt, "no number"),
        (flat("RW 18014398509481984 FLAT \"a\" 0"), Corrupt, "after 2^63"),
        (flat("RW 8 FLAT \"a\" 18446744073709551615"), Corrupt, "after 2^63"),
        (flat("RW 9007199254740992 FLAT \"a\" 0\nRW 9007199254740992 FLAT \"b\" 0"), Corrupt, "add up"),
        (flat("RW 8 FLAT \"a\" -1"), Corrupt, "first sector"),
        (flat("RW 8 FLAT \"a\""), Corrupt, "where in its file"),
        (flat("RW 8 FLAT a 0"), Corrupt, "in quotes"),
        (flat("RW 8 FLAT \"\" 0"), Unsupported, "is empty"),
        (flat("RW 8 FLAT \"a\tb\" 0"), Unsupported, "control characters"),
        (flat("RW 8 FLAT \"a\" 0 more"), Corrupt, "goes on with"),
        (flat("RW 8 ZERO more"), Corrupt, "goes on with"),
        (flat("RW 8 SPARSE \"a\""), Corrupt, "cannot have an extent of type SPARSE"),
        (flat("RW 8 ODD \"a\""), Unsupported, "\"ODD\""),
        (flat("RW 8 VMFSRDM \"a\""), Unsupported, "VMFSRDM"),
        (flat("NOACCESS 8 FLAT \"a\" 0"), Unsupported, "may not be read"),
        (flat("nonsense"), Corrupt, "means nothing"),
        (flat(""), Corrupt, "no extents"),
        (flat("createType=\"vmfs\""), Corrupt, "two lines"),
        (flat("parentFileNameHint=\"x\"\nRW 8 ZERO"), Corrupt, "without one"),
        (flat("RW 8 ZERO").replace("parentCID=ffffffff", "parentCID=1"), Corrupt, "does not name it"),
        (flat("RW 8 ZERO").replace("CID=12Ab", "CID=+1"), Corrupt, "hexadecimal"),
        (flat("RW 8 ZERO").replace("CID=12Ab", "CID=123456789"), Corrupt, "hexadecimal"),
        (flat("RW 8 ZERO").replace("version=1", "version=4"), Unsupported, "version \"4\""),
        (flat("RW 8 ZERO").replace("version=1", ""), Corrupt, "\"version\""),
        (flat("RW 8 ZERO").replace("createType", "x"), Corrupt, "\"createType\""),
        (text("vmfsSparse", "RW 8 VMFSSPARSE \"a\" 5"), Corrupt, "begin inside"),
        (text("custom", "RW 8 ZERO"), Unsupported, "\"custom\""),
        (flat(&"RW 1 ZERO\n".repeat(4097)), Limit, "4096"),
    ];
    for device in ["fullDevice", "partitionedDevice", "vmfsRaw", "vmfsRDM"] {
        cases.push((text(device, "RW 8 FLAT \"/dev/sda\" 0"), Unsupported, device));
    }
    for (text, kind, part) in cases {
        let error = Descriptor::parse(text.as_bytes()).expect_err(part);
        assert_eq!(error.kind, kind, "{part}: {error:?}");
        assert!(error.message.contains(part), "\"{part}\" in {error:?}");
    }
    let error = Descriptor::parse(&[flat("").as_bytes(), b"RW 8 FLAT \"\xff\" 0"].concat()).unwrap_err();
    assert!(error.message.contains("not UTF-8"), "{error:?}");
}
