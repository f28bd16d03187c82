//! Conversions between all formats through the real components, judged by qemu-img.
#![allow(missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use witvirt_harness::host::Host;
use witvirt_harness::{plugins, tools};

/// Registry name (also QEMU's), the options of ours, those of `qemu-img convert`.
type Format = (&'static str, &'static [&'static str], &'static [&'static str]);

const FORMATS: [Format; 11] = [
    ("raw", &[], &[]),
    ("qcow2", &[], &[]),
    ("qcow2", &["compression=zlib"], &["-c"]),
    ("qcow2", &["compression=zstd"], &["-c", "-o", "compression_type=zstd"]),
    ("vmdk", &[], &[]),
    ("vmdk", &["subformat=streamOptimized"], &["-o", "subformat=streamOptimized"]),
    ("vdi", &[], &[]),
    ("vpc", &[], &["-o", "force_size=on"]),
    ("vpc", &["subformat=fixed"], &["-o", "subformat=fixed,force_size=on"]),
    ("vhdx", &[], &[]),
    ("qed", &[], &[]),
];

/// Formats of which qemu-img can tell whether they are consistent.
const CHECKED: [&str; 5] = ["qcow2", "vmdk", "vdi", "vhdx", "qed"];

fn host() -> Result<Host> {
    let formats = ["vmdk", "vdi", "vpc", "vhdx", "qed"];
    let more = formats.map(|format| {
        let file = plugins().join(format!("format-{format}.wasm"));
        format!("[[plugin]]\nname = \"format-{format}\"\nkind = \"disk-format\"\nfile = {file:?}\n")
    });
    Host::new(&more.concat())
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn text(length: usize) -> Vec<u8> {
    b"all work and no play makes jack a dull boy\n".iter().copied().cycle().take(length).collect()
}

/// Disks: empty, full, incompressible, with holes, and with an end that fills no unit of any format.
fn disks() -> Vec<(&'static str, Vec<u8>)> {
    const MIB: usize = 1 << 20;
    let holes = [text(3 * MIB), vec![0; 5 * MIB], noise(70_000), vec![0; 4 * MIB - 70_000], text(4096)];
    let mut holes = holes.concat();
    holes.resize(13 * MIB, 0);
    vec![
        ("empty", vec![0; 5 * MIB]),
        ("full", text(6 * MIB)),
        ("incompressible", noise(5 * MIB)),
        ("holes", holes),
        ("odd", [noise(3 * MIB), vec![0; MIB], text(2 * MIB + 512)].concat()),
        ("small", text(512)),
    ]
}

fn qemu_img(arguments: &[&str], files: &[&Path]) -> Result<String> {
    tools::run(Command::new("qemu-img").args(arguments).args(files))
}

fn judge(format: &str, image: &Path, raw: &Path) -> Result<()> {
    if CHECKED.contains(&format) {
        qemu_img(&["check", "-q", "-f", format], &[image])?;
    }
    let info = qemu_img(&["info", "--output", "json", "-f", format], &[image])?;
    let info: serde_json::Value = serde_json::from_str(&info)?;
    ensure!(info["virtual-size"].as_u64() == Some(fs::metadata(raw)?.len()), "another size: {info}");
    qemu_img(&["compare", "-q", "-f", format, "-F", "raw"], &[image, raw]).map(drop)
}

#[test]
fn every_format_becomes_every_other() -> Result<()> {
    let host = host()?;
    let disks = disks();
    let path = |name: &str| host.path("files").join(name);
    for (name, bytes) in &disks {
        fs::write(path(&format!("{name}.raw")), bytes)?;
    }
    let target = path("target");
    for (from, (read, _, theirs)) in FORMATS.iter().enumerate() {
        for (to, (write, ours, _)) in FORMATS.iter().enumerate() {
            // Every pair once, and every disk with every format.
            let (disk, _) = &disks[(from * 5 + to) % disks.len()];
            let (raw, source) = (path(&format!("{disk}.raw")), path(&format!("{disk}-{from}")));
            if !source.exists() {
                qemu_img(&[&["convert", "-f", "raw", "-O", read], *theirs].concat(), &[&raw, &source])?;
            }
            let what = format!("{disk}: {read} {theirs:?} to {write} {ours:?}");
            convert(&host, (&source, read), (&target, write), ours, &[]).with_context(|| what.clone())?;
            judge(write, &target, &raw).context(what)?;
        }
    }
    Ok(())
}

fn convert(
    host: &Host,
    (source, from): (&Path, &str),
    (target, to): (&Path, &str),
    options: &[&str],
    more: &[&str],
) -> Result<()> {
    let (source, target) = (source.to_string_lossy(), target.to_string_lossy());
    let mut arguments = vec!["image", "convert", &source, &target, "--format", from, "--to", to, "--replace"];
    arguments.extend(options.iter().flat_map(|option| ["--option", *option]));
    arguments.extend(more);
    host.run(&arguments).map(drop)
}

#[test]
fn over_a_backing_image_only_what_differs_is_written() -> Result<()> {
    let host = host()?;
    let path = |name: &str| -> PathBuf { host.path("files").join(name) };
    let old = [text(4 << 20), noise(3 << 20)].concat();
    let mut new = [&old[..], &text(1 << 20)].concat();
    new[1 << 20..][..4096].fill(7);
    // Zeros over data have to be written.
    new[5 << 20..6 << 20].fill(0);
    fs::write(path("old.raw"), &old)?;
    fs::write(path("new.raw"), &new)?;
    qemu_img(&["convert", "-c", "-f", "raw", "-O", "qcow2"], &[&path("old.raw"), &path("old.qcow2")])?;
    for (format, options, most) in [
        ("qcow2", &[][..], 3 << 20),
        ("qcow2", &["compression=zlib"], 1 << 20),
        ("qcow2", &["compression=zstd"], 1 << 20),
        ("qed", &[], 3 << 20),
    ] {
        let old_image = path("old.qcow2");
        let more = ["--backing", &old_image.to_string_lossy(), "--backing-format", "qcow2"];
        let delta = path("delta");
        convert(&host, (&path("new.raw"), "raw"), (&delta, format), options, &more)?;
        judge(format, &delta, &path("new.raw")).with_context(|| format!("{format} {options:?}"))?;
        let length = fs::metadata(&delta)?.len();
        ensure!(length < most, "{format} {options:?}: {length} bytes");
        let info = qemu_img(&["info", "-f", format], &[&delta])?;
        ensure!(info.contains("backing file: old.qcow2"), "{info}");
        if format != "qcow2" {
            // It does not say which format its backing image has.
            continue;
        }
        // And back, by our own reader: over the image that it was made over.
        convert(&host, (&delta, format), (&path("again"), "qcow2"), &[], &more)?;
        judge("qcow2", &path("again"), &path("new.raw"))?;
    }
    let same = path("old.qcow2");
    let (same, raw) = (same.to_string_lossy(), path("new.raw"));
    let raw = raw.to_string_lossy();
    let onto = ["image", "convert", &raw, &same, "--format", "raw", "--to", "qcow2", "--replace"];
    let refused = host.try_run(&[&onto[..], &["--backing", &same]].concat())?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(!refused.status.success() && said.contains("is needed by"), "{said}");
    Ok(())
}

#[test]
fn images_of_the_store_are_exported() -> Result<()> {
    let host = host()?;
    let path = |name: &str| -> PathBuf { host.path("files").join(name) };
    fs::write(path("disk.raw"), text(3 << 20))?;
    let _daemon = host.daemon()?;
    let disk = path("disk.raw");
    host.run(&["image", "import", &disk.to_string_lossy(), "--format", "raw", "--name", "kept"])?;
    for (format, options, _) in FORMATS {
        let target = path("exported");
        let named = target.to_string_lossy();
        let options = options.iter().flat_map(|option| ["--option", *option]);
        let arguments: Vec<&str> = ["image", "export", "kept", &named, "--to", format, "--replace"]
            .into_iter()
            .chain(options)
            .collect();
        host.run(&arguments)?;
        judge(format, &target, &disk)?;
    }
    Ok(())
}
