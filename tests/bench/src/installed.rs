//! The plugins of config/witvirt.toml.

use anyhow::{Context, Result};
use serde_json::json;
use witvirt_core::plugin::PluginKind;
use witvirt_harness::{plugins, root};

/// Those that every [`witvirt_harness::host::Host`] has.
const OF_HOSTS: [&str; 4] = ["format-raw", "format-qcow2", "domain-libvirt", "policy-capacity"];

/// Name and kind of each.
pub fn installed() -> Result<Vec<(String, PluginKind)>> {
    let config: toml::Table = std::fs::read_to_string(root().join("config/witvirt.toml"))?.parse()?;
    let entries =
        config.get("plugin").and_then(toml::Value::as_array).context("the config has no plugins")?;
    let one = |entry: &toml::Value| {
        let text = |key: &str| {
            let value = entry.get(key).and_then(toml::Value::as_str);
            value.with_context(|| format!("a plugin of the config has no {key}"))
        };
        Ok((text("name")?.to_owned(), serde_json::from_value(json!(text("kind")?))?))
    };
    entries.iter().map(one).collect()
}

/// The end of a host's config with which it has all of them.
pub fn others() -> Result<String> {
    let all = installed()?;
    let others = all.iter().filter(|(name, _)| !OF_HOSTS.contains(&name.as_str()));
    let one = |(name, kind): &(String, PluginKind)| {
        let file = plugins().join(format!("{name}.wasm"));
        Ok(format!("[[plugin]]\nname = {name:?}\nkind = {}\nfile = {file:?}\n", json!(kind)))
    };
    others.map(one).collect()
}
