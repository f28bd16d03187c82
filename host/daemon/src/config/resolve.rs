//! From the file to [`Config`]: defaults, absolute paths, and the rules that a schema cannot express.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use witvirt_core::plugin::{Limits, PluginEntry, PluginKind};
use witvirt_fetch::{FetchConfig, HttpConfig, RegistryConfig};

use super::directories::Directories;
use super::file::{ConfigFile, LimitsTable, PluginTable, TrustMode};
use super::steps::{check_pipelines, pipelines};
use super::{Api, Config, Console, Hypervisor, Network};
use crate::document::{Document, Problem};

/// The file with everything filled in.
pub(super) fn resolve(path: &Path, document: Document<ConfigFile>) -> Result<Config, Vec<Problem>> {
    let mut problems = Vec::new();
    check_plugins(&document, &mut problems);
    check_pipelines(&document, &mut problems);
    check_values(&document, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let base = path.parent().unwrap_or(Path::new("/"));
    let mut config = defaults(document.value, base);
    config.file = Some(path.to_owned());
    Ok(config)
}

/// Applies the defaults. `base` is what relative paths are relative to.
pub(super) fn defaults(file: ConfigFile, base: &Path) -> Config {
    let standard = Directories::of_user();
    let place =
        |given: Option<PathBuf>, otherwise: PathBuf| given.map_or(otherwise, |path| normal(&base.join(path)));
    let state = place(file.state_directory.clone(), standard.state);
    let run = place(file.run_directory.clone(), standard.run);
    let limits = with_limits(Limits::default(), &file.engine.limits);
    let pipelines = pipelines(&file, base);
    Config {
        file: None,
        cache_directory: place(file.engine.cache_directory.clone(), standard.cache),
        pipelines,
        plugins: file.plugin.into_iter().map(|plugin| entry(plugin, base, limits)).collect(),
        store_directory: place(file.store.directory.clone(), state.join("images")),
        allowed_directories: file
            .store
            .allowed_directories
            .iter()
            .map(|path| normal(&base.join(path)))
            .collect(),
        fetch: fetch(file.http, file.registry, base),
        collect: file.store.collect,
        hypervisor: Hypervisor {
            driver: file.hypervisor.driver,
            binary: file
                .hypervisor
                .binary
                .map_or_else(|| "qemu-system-x86_64".into(), |binary| program(binary, base)),
            swtpm: file.hypervisor.swtpm.map_or_else(|| "swtpm".into(), |swtpm| program(swtpm, base)),
            accel: file.hypervisor.accel,
            user: file.hypervisor.user.unwrap_or_else(|| "nobody".to_owned()),
            allow_arguments: file.hypervisor.allow_arguments,
            vnc_addresses: file.hypervisor.vnc_addresses,
        },
        console: Console { log_size: file.console.log_size.map_or(4 << 20, |size| size.get()) },
        network: Network {
            user: file.network.user.unwrap_or(true),
            public_forwards: file.network.public_forwards,
        },
        api: Api {
            socket: place(file.api.socket, run.join("witvirt.sock")),
            socket_mode: file.api.socket_mode.as_deref().and_then(octal).unwrap_or(0o660),
            socket_group: file.api.socket_group,
            full_uids: file.api.full_uids,
            full_gids: file.api.full_gids,
            read_uids: file.api.read_uids,
            read_gids: file.api.read_gids,
            others: file.api.others,
        },
        host_directory: state.clone(),
        state_directory: state,
        run_directory: run,
    }
}

fn fetch(mut http: HttpConfig, mut registry: BTreeMap<String, RegistryConfig>, base: &Path) -> FetchConfig {
    let place = |file: &mut Option<PathBuf>| {
        if let Some(path) = file {
            *path = normal(&base.join(&*path));
        }
    };
    place(&mut http.ca_file);
    place(&mut http.auth_file);
    for table in registry.values_mut() {
        place(&mut table.ca_file);
        place(&mut table.auth_file);
    }
    FetchConfig { http, registry }
}

fn entry(plugin: PluginTable, base: &Path, limits: Limits) -> PluginEntry {
    PluginEntry {
        name: plugin.name,
        kind: plugin.kind,
        file: normal(&base.join(plugin.file)),
        sha256: plugin.sha256,
        settings: json(toml::Value::Table(plugin.settings)),
        limits: with_limits(limits, &plugin.limits),
        on_failure: plugin.on_failure,
        mode: plugin.mode,
    }
}

fn with_limits(base: Limits, table: &LimitsTable) -> Limits {
    Limits {
        memory: table.memory.unwrap_or(base.memory),
        deadline: table.deadline.map_or(base.deadline, |span| span.0),
        host_calls: table.host_calls.unwrap_or(base.host_calls),
        host_bytes: table.host_bytes.unwrap_or(base.host_bytes),
        call_data: table.call_data.unwrap_or(base.call_data),
    }
}

/// A program with a slash in its name is a file relative to the config, else a name for `$PATH`.
fn program(binary: PathBuf, base: &Path) -> PathBuf {
    if binary.components().count() > 1 { normal(&base.join(binary)) } else { binary }
}

/// Takes out `.` and `..` without asking the file system, so that messages show the place and not the way.
pub(super) fn normal(path: &Path) -> PathBuf {
    let mut result = PathBuf::new();
    for component in path.components() {
        match component {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                result.pop();
            }
            other => result.push(other),
        }
    }
    result
}

/// TOML has dates and JSON has not: they become texts.
fn json(value: toml::Value) -> serde_json::Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(truth) => truth.into(),
        toml::Value::Datetime(date) => date.to_string().into(),
        toml::Value::Array(items) => items.into_iter().map(json).collect(),
        toml::Value::Table(table) => table.into_iter().map(|(key, value)| (key, json(value))).collect(),
    }
}

fn octal(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777)
}

fn check_plugins(document: &Document<ConfigFile>, problems: &mut Vec<Problem>) {
    let mut first_of: HashMap<&str, usize> = HashMap::new();
    for (index, plugin) in document.value.plugin.iter().enumerate() {
        let position = index.to_string();
        let span = |key: &str| document.span(&["plugin", &position, key]);
        if let Some(first) = first_of.insert(plugin.name.as_str(), index) {
            let message =
                format!("plugins {} and {} are both named \"{}\"", first + 1, index + 1, plugin.name);
            problems.push(Problem::at(span("name"), message).help("each name is used once"));
        }
        if plugin.sha256.is_none() && document.value.trust.mode == TrustMode::RequireDigest {
            let message =
                format!("plugin \"{}\" has no sha256, and [trust] mode is \"require-digest\"", plugin.name);
            let help = format!(
                "add sha256 = \"...\" (`sha256sum {}`), or set mode = \"permit\"",
                plugin.file.display()
            );
            problems.push(Problem::at(span("name"), message).help(help));
        }
        for (key, given) in [
            ("on-failure", plugin.on_failure != Default::default()),
            ("mode", plugin.mode != Default::default()),
        ] {
            if given && plugin.kind != PluginKind::DevicePolicy {
                let message = format!(
                    "{key} is for plugins of kind \"device-policy\", and \"{}\" is none",
                    plugin.name
                );
                problems.push(Problem::at(span(key), message).help(format!("remove {key}")));
            }
        }
    }
}

fn check_values(document: &Document<ConfigFile>, problems: &mut Vec<Problem>) {
    let file = &document.value;
    if file.api.socket_mode.as_deref().is_some_and(|mode| octal(mode).is_none()) {
        let span = document.span(&["api", "socket-mode"]);
        problems.push(
            Problem::at(span, "api.socket-mode is no octal mode up to \"0777\"")
                .help("use a text like \"0660\""),
        );
    }
    for (index, argument) in file.hypervisor.allow_arguments.iter().enumerate() {
        let mut words = argument.splitn(2, ' ');
        let option = words.next().is_some_and(|option| option.starts_with('-'));
        if !option
            || words.next().is_some_and(|value| value.is_empty() || value.contains(char::is_whitespace))
        {
            let span = document.span(&["hypervisor", "allow-arguments", &index.to_string()]);
            let message = format!("\"{}\" is no option name", argument.escape_debug());
            problems.push(Problem::at(span, message).help("write the option alone, as in \"-fw_cfg\", or with what its value begins with, as in \"-device isa-applesmc\""));
        }
    }
    if file.console.log_size.is_some_and(|size| size.get() < 4096) {
        let span = document.span(&["console", "log-size"]);
        problems.push(Problem::at(span, "console.log-size is below 4 KiB"));
    }
}
