//! Texts and tags that do not change the machine.

use witvirt_sdk::core::domain::Severity;

use crate::document::{Element, Value, Waiver};
use crate::draft::Draft;
use crate::machine;

const OSINFO_NAMESPACE: &str = "http://libosinfo.org/xmlns/libvirt/domain/1.0";
const OSINFO_ANNOTATION: &str = "libosinfo.org/id";
const MAX_LINE: usize = 256;
const MAX_TEXT: usize = 16 << 10;
const FOREIGN: Waiver = Waiver::info("libvirt.metadata", "metadata of other programs is not kept");

/// Vendor part of a libosinfo id, and the family. <https://gitlab.com/libosinfo/osinfo-db>
const FAMILIES: &[(&str, &str)] = &[
    ("microsoft.com/", "windows"),
    ("apple.com/", "macos"),
    ("freebsd.org/", "freebsd"),
    ("openbsd.org/", "openbsd"),
    ("netbsd.org/", "netbsd"),
    ("dragonflybsd.org/", "dragonflybsd"),
    ("oracle.com/solaris", "solaris"),
    ("sun.com/solaris", "solaris"),
    ("haiku-os.org/", "haiku"),
    ("novell.com/netware", "netware"),
    ("ibm.com/os2", "os2"),
];
const LINUX: &[&str] = &[
    "libosinfo.org/linux",
    "debian.org/",
    "ubuntu.com/",
    "fedoraproject.org/",
    "redhat.com/",
    "centos.org/",
    "almalinux.org/",
    "rockylinux.org/",
    "oracle.com/ol/",
    "suse.com/",
    "opensuse.org/",
    "archlinux.org/",
    "alpinelinux.org/",
    "gentoo.org/",
    "nixos.org/",
    "voidlinux.org/",
    "mageia.org/",
    "mandriva.com/",
    "altlinux.org/",
    "cirros-cloud.net/",
    "endlessos.com/",
    "endlessm.com/",
    "guix.gnu.org/",
    "clearlinux.org/",
    "asianux.com/",
    "circle-linux.org/",
    "eurolinux.org/",
    "manjaro.org/",
    "pureos.net/",
    "scientificlinux.org/",
    "silverblue.fedoraproject.org/",
    "coreos.fedoraproject.org/",
    "trisquel.info/",
    "popos.system76.com",
    "system76.com/",
    "slackware.com/",
    "slitaz.org/",
    "linuxmint.com/",
    "elementary.io/",
    "kali.org/",
    "android-x86.org/",
    "lineageos.org/",
    "bliss-os.org/",
    "miraclelinux.com/",
    "alteros.com/",
    "vmware.com/photon",
    "zorin.com/",
    "deepin.org/",
    "gnome.org/",
    "endlessos.org/",
];

pub(crate) fn read(draft: &mut Draft<'_>) {
    let domain = draft.domain;
    let title = domain.child_text("title");
    let description = domain.child_text("description");
    let line = title.or(description).filter(|value| !value.text.is_empty());
    draft.spec.description = line.map(|value| shorten(value, value.one_line(), MAX_LINE));
    if let Some(text) = description.filter(|text| draft.spec.description.as_deref() != Some(text.text)) {
        let text = shorten(text, text.text.to_owned(), MAX_TEXT);
        draft.spec.annotations.insert("libvirt.org/description".to_owned(), text);
    }
    if let Some(metadata) = domain.child("metadata") {
        read_metadata(metadata, draft);
    }
}

fn shorten(value: Value<'_>, mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        value.report(Severity::Info, "libvirt.text.shortened", || format!("cut after {most} bytes"));
    }
    text
}

fn read_metadata<'a>(metadata: Element<'a>, draft: &mut Draft<'a>) {
    let mut machines = Vec::new();
    for child in metadata.unread() {
        if child.namespace() == Some(OSINFO_NAMESPACE) && child.local_name() == "libosinfo" {
            read_osinfo(child.open(), draft);
        } else if child.namespace() == Some(machine::NAMESPACE) && child.local_name() == "machine" {
            machines.push(child.open());
        } else {
            child.open().waive(&FOREIGN);
        }
    }
    // Last: what it says of the operating system was said to witvirt.
    for machine in machines {
        machine::read(machine, draft);
    }
}

fn read_osinfo(osinfo: Element<'_>, draft: &mut Draft<'_>) {
    let is_os = |name: &str| name == "os";
    let Some(os) = osinfo
        .unread()
        .find(|child| is_os(child.local_name()) && child.namespace() == Some(OSINFO_NAMESPACE))
    else {
        return;
    };
    let Some(id) = os.open().required("id") else { return };
    draft.spec.os = family(id.text).map(str::to_owned);
    if draft.spec.os.is_none() {
        id.report(Severity::Info, "libvirt.metadata.os", || {
            "no family of operating systems is known for this id; policies cannot go by it".to_owned()
        });
    }
    let text = shorten(id, id.text.to_owned(), MAX_LINE);
    draft.spec.annotations.insert(OSINFO_ANNOTATION.to_owned(), text);
}

fn family(id: &str) -> Option<&'static str> {
    let id = id.strip_prefix("http://").or_else(|| id.strip_prefix("https://"))?;
    let id = id.strip_prefix("www.").unwrap_or(id);
    let listed = FAMILIES.iter().find(|(vendor, _)| id.starts_with(vendor)).map(|(_, family)| *family);
    listed.or_else(|| LINUX.iter().any(|vendor| id.starts_with(vendor)).then_some("linux"))
}

#[cfg(test)]
mod tests {
    use super::family;

    #[test]
    fn knows_families() {
        for (id, expected) in [
            ("http://debian.org/debian/12", Some("linux")),
            ("http://microsoft.com/win/11", Some("windows")),
            ("http://apple.com/macosx/10.7", Some("macos")),
            ("http://freebsd.org/freebsd/14.0", Some("freebsd")),
            ("http://oracle.com/solaris/11", Some("solaris")),
            ("http://oracle.com/ol/9", Some("linux")),
            ("http://libosinfo.org/linux/2022", Some("linux")),
            ("http://example.org/os/1", None),
            ("debian", None),
        ] {
            assert_eq!(family(id), expected, "{id}");
        }
    }
}
