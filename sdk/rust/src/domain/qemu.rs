//! `<qemu:commandline>`: arguments for QEMU that libvirt passes on as they are
//! (<https://libvirt.org/drvqemu.html#pass-through-of-arbitrary-qemu-commands>), and that this project's host lets through
//! where `[hypervisor] allow-arguments` names the option.

use crate::xml::{Document, Element, Id};

/// The namespace of `<qemu:commandline>`.
pub const NAMESPACE: &str = "http://libvirt.org/schemas/domain/qemu/1.0";

const COMMANDLINE: &str = "{http://libvirt.org/schemas/domain/qemu/1.0}commandline";
const ARGUMENT: &str = "{http://libvirt.org/schemas/domain/qemu/1.0}arg";

/// An option of the command line, the word after it where that is none, and where they are.
struct Found {
    name: String,
    value: Option<(Id, String)>,
}

/// The options that are there: their names without dashes, and their values.
pub fn options(domain: &Document) -> Vec<(String, Option<String>)> {
    found(domain).into_iter().map(|option| (option.name, option.value.map(|(_, value)| value))).collect()
}

/// The value of the last option of this name whose value is one of `those`.
pub fn option(domain: &Document, name: &str, those: impl Fn(&str) -> bool) -> Option<String> {
    last(domain, name, those).map(|(_, value)| value)
}

/// Gives the last option of this name whose value is one of `those` another value; appends the option where there is none.
pub fn set_option(domain: &mut Document, name: &str, those: impl Fn(&str) -> bool, value: &str) {
    match last(domain, name, those) {
        Some((_, there)) if there == value => {}
        Some((id, _)) => domain.set_attribute(id, "value", value),
        None => append_option(domain, name, Some(value)),
    }
}

/// Appends an option; `name` is without a dash.
pub fn append_option(domain: &mut Document, name: &str, value: Option<&str>) {
    let root = domain.root();
    let commandline = domain.find_all(root, COMMANDLINE).last().copied().unwrap_or_else(|| {
        let prefix = domain.declare_namespace(root, "qemu", NAMESPACE);
        domain.append(root, Element::new(format!("{prefix}:commandline")))
    });
    let prefix = domain.declare_namespace(commandline, "qemu", NAMESPACE);
    for word in std::iter::once(format!("-{name}")).chain(value.map(str::to_owned)) {
        domain.append(commandline, Element::new(format!("{prefix}:arg")).attribute("value", word));
    }
}

fn last(domain: &Document, name: &str, those: impl Fn(&str) -> bool) -> Option<(Id, String)> {
    let of_name = found(domain).into_iter().filter(|option| option.name == name);
    of_name.filter_map(|option| option.value).filter(|(_, value)| those(value)).last()
}

fn found(domain: &Document) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for (id, word) in words(domain) {
        match word.strip_prefix("--").or_else(|| word.strip_prefix('-')) {
            Some(name) => found.push(Found { name: name.to_owned(), value: None }),
            None => {
                if let Some(option) = found.last_mut().filter(|option| option.value.is_none()) {
                    option.value = Some((id, word));
                }
            }
        }
    }
    found
}

fn words(domain: &Document) -> Vec<(Id, String)> {
    let commandlines = domain.find_all(domain.root(), COMMANDLINE).into_iter();
    let arguments = commandlines.flat_map(|commandline| domain.find_all(commandline, ARGUMENT));
    arguments.map(|id| (id, domain.attribute(id, "value").unwrap_or_default().into_owned())).collect()
}
