//! Whatever comes in, what goes out keeps its promises.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use domain_libvirt::{Settings, convert};
use proptest::prelude::*;
use witvirt_sdk::core::Name;

// What has to hold for any document; the fuzz target runs it too.
#[path = "../../../tests/fuzz/bodies/domain_libvirt.rs"]
mod body;

static DOCUMENTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e == "xml")).collect();
    paths.sort();
    paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
});

/// Values that mean something somewhere, and some that do not.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(vec![
            "yes",
            "no",
            "on",
            "off",
            "0",
            "1",
            "-1",
            "4294967296",
            "18446744073709551616",
            "",
            "kvm",
            "qemu",
            "file",
            "volume",
            "block",
            "network",
            "user",
            "vda",
            "sda",
            "hda",
            "fda",
            "virtio",
            "sata",
            "scsi",
            "ide",
            "usb",
            "fdc",
            "nvme",
            "pty",
            "vnc",
            "spice",
            "q35",
            "pc",
            "efi",
            "disk",
            "cdrom",
            "floppy",
            "lun",
            "/srv/a.img",
            "relative",
            "MiB",
            "EiB",
            "tcp",
            "52:54:00:12:34:56",
            "serial",
            "smbios",
            "none",
            "sysinfo",
            "images",
            "default",
            "pflash",
            "host-passthrough",
            "custom",
            "x-y_z",
            "native",
            "restart",
            "drive",
        ])
        .prop_map(str::to_owned),
        "[ -%'-;=?-~é]{0,12}",
    ]
}

/// An element name or attribute name that some reader looks for.
fn word() -> impl Strategy<Value = String> {
    static WORDS: LazyLock<Vec<String>> = LazyLock::new(|| {
        let mut words: Vec<String> = DOCUMENTS
            .iter()
            .flat_map(|xml| xml.split(|c: char| !(c.is_ascii_alphanumeric() || "-_:".contains(c))))
            .filter(|word| word.starts_with(|c: char| c.is_ascii_lowercase()) && !word.contains(':'))
            .map(str::to_owned)
            .collect();
        words.sort();
        words.dedup();
        words
    });
    proptest::sample::select(WORDS.clone())
}

fn element(depth: u32) -> BoxedStrategy<String> {
    let attributes = proptest::collection::btree_map(word(), value(), 0..5);
    let content = if depth == 0 {
        value().boxed()
    } else {
        proptest::collection::vec(element(depth - 1), 0..5).prop_map(|children| children.concat()).boxed()
    };
    (word(), attributes, content)
        .prop_map(|(name, attributes, content)| {
            let attributes: String =
                attributes.iter().map(|(key, value)| format!(" {key}=\"{value}\"")).collect();
            format!("<{name}{attributes}>{content}</{name}>")
        })
        .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text(xml in "\\PC{0,200}") {
        body::run(xml.as_bytes());
    }

    #[test]
    fn elements_in_any_order(parts in proptest::collection::vec(element(3), 0..6)) {
        body::run(format!("<domain type='kvm'>\n<name>a</name>\n{}</domain>", parts.join("\n")).as_bytes());
    }

    #[test]
    fn devices_in_any_order(parts in proptest::collection::vec(element(2), 0..8)) {
        let xml = format!(
            "<domain type='kvm'><name>a</name><memory>65536</memory><os><type>hvm</type></os>\n<devices>{}</devices></domain>",
            parts.join("\n")
        );
        body::run(xml.as_bytes());
    }

    /// Real documents with values replaced, which often leaves them readable.
    #[test]
    fn documents_with_other_values(
        document in any::<prop::sample::Index>(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), value()), 1..8),
        name in "[a-z0-9]{1,8}",
    ) {
        let mut xml = document.get(&DOCUMENTS).clone();
        for (at, value) in edits {
            let quotes: Vec<usize> = xml.match_indices(['\'', '"']).map(|(at, _)| at).collect();
            let pairs: Vec<&[usize]> = quotes.chunks_exact(2).collect();
            let [start, end] = at.get(&pairs)[..] else { continue };
            xml.replace_range(start + 1..end, &value);
        }
        body::run(xml.as_bytes());
        let name = Name::new(name).unwrap();
        if let Ok(conversion) = convert(&xml, Some(name.clone()), &Settings::default()) {
            prop_assert_eq!(conversion.machine.name, name);
        }
    }

    /// Real documents cut, and stuck together again.
    #[test]
    fn documents_with_pieces_moved(
        document in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
        length in 0usize..200,
        to in any::<prop::sample::Index>(),
    ) {
        let mut xml = document.get(&DOCUMENTS).clone();
        let start = xml.floor_char_boundary(cut.index(xml.len()));
        let end = xml.floor_char_boundary((start + length).min(xml.len()));
        let piece: String = xml.drain(start..end).collect();
        let to = xml.floor_char_boundary(to.index(xml.len() + 1));
        xml.insert_str(to, &piece);
        body::run(xml.as_bytes());
    }
}
