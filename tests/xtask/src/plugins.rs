//! From plugin crates to components: `cargo build` for `wasm32-unknown-unknown`, then wit-component.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use wit_component::ComponentEncoder;
use witvirt_harness::root;

use crate::cargo;

/// Builds every crate in plugins/ and in tests/plugins/ and writes target/plugins/NAME.wasm.
pub fn build() -> Result<()> {
    let root = root();
    let mut names = crates_in(&root.join("plugins"))?;
    if root.join("tests/plugins").is_dir() {
        names.extend(crates_in(&root.join("tests/plugins"))?);
    }
    let mut arguments = vec!["build", "--quiet", "--profile", "plugin", "--target", "wasm32-unknown-unknown"];
    for name in &names {
        arguments.extend(["--package", name]);
    }
    cargo(&arguments).context("if the target is missing: rustup target add wasm32-unknown-unknown")?;
    let output = root.join("target/plugins");
    fs::create_dir_all(&output)?;
    for name in &names {
        componentize(&root, &output, name).with_context(|| format!("plugin {name}"))?;
    }
    Ok(())
}

fn crates_in(directory: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").is_file() {
            names.push(entry.file_name().into_string().map_err(|name| anyhow::anyhow!("odd name {name:?}"))?);
        }
    }
    names.sort();
    ensure!(!names.is_empty(), "no plugins in {}", directory.display());
    Ok(names)
}

fn componentize(root: &Path, output: &Path, name: &str) -> Result<()> {
    let file = format!("{}.wasm", name.replace('-', "_"));
    let module = fs::read(root.join("target/wasm32-unknown-unknown/plugin").join(file))?;
    let component = ComponentEncoder::default().validate(true).module(&module)?.encode()?;
    let target = output.join(format!("{name}.wasm"));
    if fs::read(&target).is_ok_and(|old| old == component) {
        return Ok(());
    }
    let partial = output.join(format!(".{name}.partial"));
    fs::write(&partial, component)?;
    fs::rename(partial, target)?;
    Ok(())
}
