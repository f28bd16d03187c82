//! `<sysinfo>`: texts in the SMBIOS tables.

use witvirt_sdk::core::domain::Severity;
use witvirt_sdk::core::spec::SmbiosTable;

use crate::boot;
use crate::document::{Element, Waiver};
use crate::draft::Draft;

const FWCFG: Waiver =
    Waiver::error("libvirt.sysinfo.fwcfg", "witvirt hands guests no firmware configuration entries");

/// Element, SMBIOS table type, and pairs of entry name and QEMU's field.
type Table = (&'static str, u8, &'static [(&'static str, &'static str)]);

const TABLES: &[Table] = &[
    ("bios", 0, &[("vendor", "vendor"), ("version", "version"), ("date", "date"), ("release", "release")]),
    (
        "system",
        1,
        &[
            ("manufacturer", "manufacturer"),
            ("product", "product"),
            ("version", "version"),
            ("serial", "serial"),
            ("uuid", "uuid"),
            ("sku", "sku"),
            ("family", "family"),
        ],
    ),
    (
        "baseBoard",
        2,
        &[
            ("manufacturer", "manufacturer"),
            ("product", "product"),
            ("version", "version"),
            ("serial", "serial"),
            ("asset", "asset"),
            ("location", "location"),
        ],
    ),
    (
        "chassis",
        3,
        &[
            ("manufacturer", "manufacturer"),
            ("version", "version"),
            ("serial", "serial"),
            ("asset", "asset"),
            ("sku", "sku"),
        ],
    ),
];

pub(crate) fn read(draft: &mut Draft<'_>) {
    let domain = draft.domain;
    let used = boot::uses_sysinfo(domain.child("os"));
    let mut found = false;
    for sysinfo in domain.children("sysinfo") {
        match sysinfo.required("type").and_then(|kind| kind.choose(&[("smbios", true), ("fwcfg", false)])) {
            Some(true) if used => {
                found = true;
                read_tables(sysinfo, draft);
            }
            Some(true) => sysinfo.cover(Severity::Warning, "libvirt.sysinfo", || {
                "<sysinfo>: not used without <smbios mode='sysinfo'/> in <os>, as under libvirt".to_owned()
            }),
            Some(false) => sysinfo.waive(&FWCFG),
            None => {}
        }
    }
    if used && !found {
        domain.report(Severity::Error, "libvirt.sysinfo", || {
            "<smbios mode='sysinfo'/> needs a <sysinfo type='smbios'>".to_owned()
        });
    }
}

fn read_tables<'a>(sysinfo: Element<'a>, draft: &mut Draft<'a>) {
    for (name, kind, fields) in TABLES {
        for table in sysinfo.children(name) {
            let fields = read_entries(table, fields, draft);
            push(*kind, fields, table, draft);
        }
    }
    if let Some(strings) = sysinfo.child("oemStrings") {
        let values =
            strings.children("entry").map(|entry| ("value".to_owned(), entry.text().text.to_owned()));
        push(11, values.collect(), strings, draft);
    }
}

fn push<'a>(kind: u8, fields: Vec<(String, String)>, table: Element<'a>, draft: &mut Draft<'a>) {
    if !fields.is_empty() {
        draft.made_from("smbios", draft.spec.smbios.tables.len(), table);
        draft.spec.smbios.tables.push(SmbiosTable { kind, fields });
    }
}

fn read_entries(table: Element<'_>, known: &[(&str, &str)], draft: &Draft<'_>) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    for entry in table.children("entry") {
        let Some(field) = entry.required("name").and_then(|name| name.choose(known)) else { continue };
        let value = entry.text();
        let same = |uuid| draft.spec.effective_uuid() == uuid;
        if field == "uuid" && !uuid::Uuid::parse_str(value.text).is_ok_and(same) {
            value.refuse("the UUID of the domain");
            continue;
        }
        if field != "uuid" {
            fields.push((field.to_owned(), value.text.to_owned()));
        }
    }
    fields
}
