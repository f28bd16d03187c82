//! The macOS machine: the VirtualMachine of the documents that the project was asked for from, an equivalent of our own,
//! and the config that it takes.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use toml::{Table, Value};

use crate::root;

/// 64 letters, where a Mac has a key.
pub const OSK: &str = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl";

/// The hooks that it names, in its order.
pub const HOOKS: [&str; 5] =
    ["hook-board", "hook-vnc", "hook-boot-loader", "hook-input-device", "hook-nic-model"];

/// The annotations that they read.
pub const ANNOTATIONS: [(&str, &str); 4] = [
    ("converter.droidvirt.io/type", "board,vnc,boot-loader,input-device,nic-model"),
    ("vnc.droidvirt.io/port", "5900"),
    ("loader.osx-kvm.io/path", "/usr/share/OVMF/OVMF_CODE.fd"),
    ("nvram.osx-kvm.io/path", "/usr/share/OVMF/OVMF_VARS.fd"),
];

/// The VirtualMachine in the documents beside the repository, as it stands there; `None` where they are not.
pub fn seed() -> Result<Option<String>> {
    let Ok(entries) = fs::read_dir(root().join("../shared/seeds")) else { return Ok(None) };
    for entry in entries {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("000")) {
            let text = fs::read_to_string(&path)?;
            let machine = text.split("```yaml\n").skip(1).filter_map(|part| part.split("\n```").next());
            let machine = machine.into_iter().find(|part| part.contains("kind: VirtualMachine\n"));
            return Ok(Some(machine.context("the document has no VirtualMachine")?.to_owned()));
        }
    }
    Ok(None)
}

/// Our own.
pub fn example() -> Result<String> {
    Ok(fs::read_to_string(root().join("examples/macos/osx.yaml"))?)
}

/// The config of examples/macos with a key, joined with another: tables by key, plugins by name.
pub fn config(other: &str) -> Result<String> {
    let text = fs::read_to_string(root().join("examples/macos/witvirt.toml"))?;
    let mut example: Table = text.parse()?;
    for plugin in example.get_mut("plugin").and_then(Value::as_array_mut).context("no plugins")? {
        let plugin = plugin.as_table_mut().context("a plugin is no table")?;
        let name = plugin.get("name").and_then(Value::as_str).context("a plugin has no name")?.to_owned();
        let file = crate::plugins().join(format!("{name}.wasm"));
        ensure!(file.is_file(), "{} is missing, run: cargo xtask plugins", file.display());
        plugin.insert("file".to_owned(), Value::String(file.to_string_lossy().into_owned()));
        if name == "hook-board" {
            let settings = Table::from_iter([("osk".to_owned(), Value::String(OSK.to_owned()))]);
            plugin.insert("settings".to_owned(), Value::Table(settings));
        }
    }
    let mut joined: Table = other.parse()?;
    join(&mut joined, example)?;
    Ok(toml::to_string(&joined)?)
}

fn join(into: &mut Table, other: Table) -> Result<()> {
    for (key, value) in other {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(there)), Value::Table(table)) => join(there, table)?,
            (Some(Value::Array(there)), Value::Array(list)) => {
                let name = |value: &Value| value.get("name").and_then(Value::as_str).map(str::to_owned);
                there.retain(|old| !list.iter().any(|new| name(new) == name(old)));
                there.extend(list);
            }
            (Some(_), _) => bail!("both configs have {key}"),
            (None, value) => drop(into.insert(key, value)),
        }
    }
    Ok(())
}
