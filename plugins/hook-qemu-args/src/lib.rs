//! Arguments for QEMU from the annotation `qemu.droidvirt.io/args`, with ";" in between; those of droidvirt's
//! `define-domain-sidecar`.
//!
//! Only options in the setting `allow` are added ("device" stands for `-device`); any other refuses the document, by name.
//! The host's own list, `[hypervisor] allow-arguments`, has to have them too.

use serde::Deserialize;
use witvirt_sdk::core::domain::{Diagnostic, Severity};
use witvirt_sdk::domain::{Context, Hook, qemu};
use witvirt_sdk::xml::Document;
use witvirt_sdk::{Error, ErrorKind};

const ARGS: &str = "qemu.droidvirt.io/args";
/// Options that are read.
const OPTIONS_MOST: usize = 256;

/// The plugin.
pub struct QemuArgs;

/// Its settings.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// Names of options, without a dash.
    pub allow: Vec<String>,
}

impl Hook for QemuArgs {
    const NAME: &str = env!("CARGO_PKG_NAME");
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const DESCRIPTION: &str = "arguments for QEMU by annotation, from an allow-list";
    const SETTINGS_SCHEMA: Option<&str> = Some(include_str!("../settings.schema.json"));
    type Settings = Settings;

    fn check(settings: &Settings) -> Result<(), Error> {
        let Some(odd) = settings.allow.iter().find(|name| name.is_empty() || name.starts_with('-')) else {
            return Ok(());
        };
        let message = format!(
            "setting allow: options are named without a dash, such as \"device\": \"{}\"",
            odd.escape_debug()
        );
        Err(Error::new(ErrorKind::InvalidInput, message))
    }

    fn edit(settings: &Settings, domain: &mut Document, context: &Context) -> Vec<Diagnostic> {
        let Some(text) = context.annotations.get(ARGS) else { return Vec::new() };
        let options = match options(text) {
            Ok(options) => options,
            Err(refused) => return vec![refused],
        };
        let denied = options.iter().filter(|option| !settings.allow.iter().any(|name| name == option.name));
        let denied: Vec<Diagnostic> = denied.map(|option| not_allowed(option.name)).collect();
        if !denied.is_empty() {
            return denied;
        }
        // What an earlier run has added is not added again; the same option twice is meant twice.
        let mut there = qemu::options(domain);
        for option in options {
            let same = |other: &(String, Option<String>)| {
                other.0 == option.name && other.1.as_deref() == option.value
            };
            match there.iter().position(same) {
                Some(at) => drop(there.swap_remove(at)),
                None => qemu::append_option(domain, option.name, option.value),
            }
        }
        Vec::new()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Argument<'a> {
    name: &'a str,
    value: Option<&'a str>,
}

/// Options and their values: QEMU takes a word that belongs to no option for the path of a disk.
fn options(text: &str) -> Result<Vec<Argument<'_>>, Diagnostic> {
    let mut options: Vec<Argument<'_>> = Vec::new();
    for word in text.split(';').map(str::trim).filter(|word| !word.is_empty()) {
        if word.contains(char::is_control) {
            return Err(refused(word, "it has characters that no argument has"));
        }
        if let Some(name) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) {
            if options.len() >= OPTIONS_MOST {
                return Err(refused(word, "there are too many options"));
            }
            options.push(Argument { name, value: None });
            continue;
        }
        match options.last_mut() {
            Some(last) if last.value.is_none() => last.value = Some(word),
            _ => return Err(refused(word, "it follows no option")),
        }
    }
    Ok(options)
}

fn refused(word: &str, why: &str) -> Diagnostic {
    let word: String = word.chars().take(64).collect();
    let message = format!("the annotation {ARGS}: \"{}\": {why}", word.escape_debug());
    Diagnostic::new(Severity::Error, "qemu-args.annotation", message)
}

fn not_allowed(name: &str) -> Diagnostic {
    let name: String = name.chars().take(64).collect();
    let name = name.escape_debug();
    let message = format!(
        "the annotation {ARGS} has the option \"-{name}\", which is not allowed; add \"{name}\" to the setting allow of \
         this plugin, or take it out"
    );
    Diagnostic::new(Severity::Error, "qemu-args.denied", message)
}

witvirt_sdk::domain_converter!(QemuArgs);
