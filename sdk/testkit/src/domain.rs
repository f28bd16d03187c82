//! Tests of hooks: converters from domain XML to domain XML.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::{Index, subsequence};
use witvirt_core::domain::{DOMAIN_XML, Document, Outcome, Severity};
use witvirt_sdk::domain::{Context, Converter, configure, convert};

/// A domain as KubeVirt's launcher writes it.
pub const KUBEVIRT: &str = include_str!("../domains/kubevirt.xml");

/// What the host calls a hook with.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// A JSON object.
    pub settings: &'a str,
    /// Annotations of the machine.
    pub annotations: &'a [(&'a str, &'a str)],
}

impl Call<'_> {
    /// Without settings and annotations.
    pub const PLAIN: Self = Self { settings: "{}", annotations: &[] };

    /// Runs a hook; panics where it refuses the document altogether.
    pub fn run<H: Converter>(&self, xml: &str) -> Outcome {
        let settings = configure::<H>(self.settings).unwrap_or_else(|error| panic!("{}", error.message));
        let annotation = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let annotations = self.annotations.iter().map(annotation).collect();
        let context = Context { name: "machine".to_owned(), annotations, ..Context::default() };
        let options = format!("{{\"context\": {}}}", context.document().expect("JSON").body);
        let input = Document { media_type: DOMAIN_XML.to_owned(), body: xml.to_owned() };
        convert::<H>(&settings, &input, DOMAIN_XML, &options)
            .unwrap_or_else(|error| panic!("{}: {}", H::NAME, error.message))
    }

    /// What it says of a document: severity and code of each diagnostic.
    pub fn says<H: Converter>(&self, xml: &str) -> Vec<(Severity, String)> {
        let said = self.run::<H>(xml).diagnostics.into_iter();
        said.map(|diagnostic| (diagnostic.severity, diagnostic.code)).collect()
    }

    /// The document that it makes. Panics where running it twice makes another one.
    pub fn edits<H: Converter>(&self, xml: &str) -> String {
        let once = self.run::<H>(xml).document.body;
        let twice = self.run::<H>(&once).document.body;
        assert!(once == twice, "{} is not idempotent:\n{}", H::NAME, difference(&once, &twice));
        once
    }

    /// Compares what it changes with a checked-in difference. `WITVIRT_BLESS=1` writes the file anew.
    pub fn expects<H: Converter>(&self, xml: &str, file: &Path) {
        let made = difference(xml, &self.edits::<H>(xml));
        if std::env::var_os("WITVIRT_BLESS").is_some() {
            return fs::write(file, made).expect("the file can be written");
        }
        let expected = fs::read_to_string(file).unwrap_or_default();
        let stale = "look at the change, then run with WITVIRT_BLESS=1";
        assert!(made == expected, "{}: {stale}\n{}", file.display(), difference(&expected, &made));
    }
}

/// The lines in which two texts differ, as `diff -U1` shows them.
pub fn difference(old: &str, new: &str) -> String {
    similar::TextDiff::from_lines(old, new).unified_diff().context_radius(1).to_string()
}

/// Parts of `<devices>` in shapes that hooks meet.
const DEVICES: [&str; 18] = [
    "<video><model type='vga' heads='1' vram='16384'/></video>",
    "<video>\n<!-- old --><model type='virtio'/><alias name='v'/></video>",
    "<graphics type='vnc' port='5901' autoport='no'><listen type='socket' socket='/x'/></graphics>",
    "<graphics type='spice'/>",
    "<input type='tablet' bus='usb'><alias name='ua-tablet'/></input>",
    "<input type='mouse' bus='ps2'/>",
    "<input type='keyboard' bus='virtio'></input>",
    "<controller type='usb' index='0' model='none'></controller>",
    "<controller type='usb' model='qemu-xhci' ports='15'/>",
    "<controller type='usb' index='0' model='ich9-uhci1'><master startport='0'/></controller>",
    "<controller type='usb' index='1' model='ich9-ehci1'/>",
    "<controller type='scsi' index='0'/>",
    "<interface type='user'><model type='e1000'/><alias name='ua-default'/></interface>",
    "<interface type='bridge'><mac address='52:54:00:12:34:56'/></interface>",
    "<interface type='hostdev'/>",
    "<disk type='file' device='disk'><driver name='qemu' type='raw' cache='none' io='native' iothread='1'/>\
     <source file='/a.img'/><target dev='sda' bus='sata'/><alias name='ua-data'/></disk>",
    "<disk type='block'><target dev='vda'/><alias name='root'/></disk>",
    "<!-- <video/> is not a device here -->",
];

/// Beside `<devices>`.
const REST: [&str; 8] = [
    "<os><type machine='q35'>hvm</type></os>",
    "<os firmware='efi'><firmware><feature enabled='no' name='secure-boot'/></firmware><loader secure='no'/>\
     <nvram template='/t'>/n</nvram></os>",
    "<os><loader type='rom'>/bios</loader><nvram><source file='/n'/></nvram></os>",
    "<q:commandline xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'><q:arg value='-cpu'/>\
     <q:arg value='max'/></q:commandline>",
    "<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><qemu:env name='A' value='b'/>\
     </qemu:commandline>",
    "<qemu:commandline xmlns:qemu='urn:another'><qemu:arg value='-vnc'/></qemu:commandline>",
    "<commandline xmlns='http://libvirt.org/schemas/domain/qemu/1.0'><arg value='-device'/>\
     <arg value='isa-applesmc,osk=x'/></commandline>",
    "<metadata><x:y xmlns:x='urn:x'/></metadata>",
];

/// Domains with and without each of the parts that hooks change, in all sorts of shapes and indentations.
pub fn domains() -> impl Strategy<Value = String> {
    let parts = (subsequence(DEVICES.to_vec(), 0..=8), subsequence(REST.to_vec(), 0..=3));
    let shape = (any::<Index>(), any::<Index>(), any::<bool>());
    (parts, shape).prop_map(|((devices, rest), (indent, root, some))| {
        let indent = *indent.get(&["", "\n", "\n  ", "\n\t", "\r\n    "]);
        let root = *root.get(&[
            "<domain type='kvm'>",
            "<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>",
            "<?xml version='1.0'?>\n<domain type=\"qemu\" xmlns:qemu='urn:another'>",
        ]);
        let mut text = format!("{root}{indent}<name>m</name>");
        for part in rest {
            text += indent;
            text += part;
        }
        if some || !devices.is_empty() {
            text += &format!("{indent}<devices>");
            for device in devices {
                text += &format!("{indent}{indent}{device}");
            }
            text += &format!("{indent}</devices>");
        }
        text + indent + "</domain>\n"
    })
}
