//! The hostile images and the corpora of others, by the same path.
#![allow(missing_docs)]

use std::fs;
use std::path::Path;

use witvirt_disk::ErrorKind;
use witvirt_hostile::case::{Case, Content, Entry, Verdict, What};
use witvirt_hostile::corpus::{self, data, have, run, table, unpack};
use witvirt_hostile::judge::{MEMORY, faults, sha256};
use witvirt_hostile::plugins;
use witvirt_hostile::run::{Bench, CANARY};

const PROGRAM: &str = env!("CARGO_BIN_EXE_witvirt-hostile");

/// A larger disk takes its time to be hashed; set `WITVIRT_LARGE_IMAGES` to have them all.
const LARGE: u64 = 2 << 30;

/// A case whose files are there already.
fn present(name: &str, format: &str, verdict: Verdict) -> Case {
    let mut case = Case::of(name, Entry::Directory).import(What::File(name.to_owned()));
    case.format = Some(format.to_owned());
    case.verdict = verdict;
    case
}

#[test]
fn the_hostile_images_of_others() {
    let Some(generator) = data("hostile/make-hostile.py") else { return };
    if !plugins::built() || !have("python3", "python3") {
        return;
    }
    let bench = Bench::new(PROGRAM).unwrap();
    let place = bench.place();
    run("python3", &[generator.to_str().unwrap(), ".", &place.canary()], &place.directory).unwrap();
    // It has its own text; the judge looks for that of this crate.
    fs::write(&place.canary, format!("{CANARY}\n").repeat(40)).unwrap();
    let rows = table(&place.directory.join("hostile.tsv")).unwrap();
    let (mut refused, mut confined, mut wrong) = (0, 0, Vec::new());
    for row in &rows {
        let (name, claimed) = (row["file"].as_str(), row["format_claimed"].as_str());
        let confine = row["verdict"] == "confine";
        let mut case =
            present(name, claimed.trim_end_matches(".gz"), Verdict::Refuse(Vec::new(), String::new()));
        if claimed.contains('|') || matches!(claimed, "ova" | "luks" | "cloop" | "bochs") {
            case = case.probed();
        }
        let ended = bench.import(&case, &place.directory).unwrap();
        let Some(outcome) = &ended.outcome else {
            wrong.push(format!("{name}: it was killed or died"));
            continue;
        };
        match &outcome.result {
            Ok(_) if confine => confined += 1,
            Ok(_) => wrong.push(format!("{name} was imported: {}", row["what"])),
            // More than there is room for: it goes nowhere.
            Err(failure) if confine && ["NoSpace", "Limit"].contains(&failure.kind.as_str()) => refused += 1,
            // Two of these are bombs that name one table thousands of times, which is refused by name.
            Err(failure) if confine && !failure.message.contains("more L2 tables") => {
                wrong.push(format!("{name} was refused: {}", failure.message));
            }
            Err(_) => refused += 1,
        }
        // The verdict is judged above; this looks at time, memory, leaks and what is left.
        case.verdict = match &outcome.result {
            Ok(digest) => {
                let disk = ended.store.join("images").join(digest).join("disk.raw");
                Verdict::Confine(Content::Hole(fs::metadata(disk).unwrap().len()))
            }
            Err(failure) => Verdict::Refuse(every_kind(&failure.kind), String::new()),
        };
        let other =
            |fault: &String| !fault.contains("allocated") && !fault.contains("does not name the file");
        wrong.extend(faults(&case, &ended).into_iter().filter(other).map(|fault| format!("{name}: {fault}")));
    }
    println!("{} cases of others: {refused} refused, {confined} confined", rows.len());
    assert!(rows.len() >= 80, "{} cases", rows.len());
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n"));
}

fn every_kind(name: &str) -> Vec<ErrorKind> {
    use ErrorKind::{
        AlreadyExists, Cancelled, Changed, Corrupt, Denied, InUse, InvalidInput, Io, Limit, NoSpace,
        NotFound, Unsupported,
    };
    // A plugin that broke is no refusal.
    let known = [
        InvalidInput,
        NotFound,
        AlreadyExists,
        InUse,
        Denied,
        Unsupported,
        Corrupt,
        Changed,
        NoSpace,
        Limit,
        Cancelled,
        Io,
    ];
    known.into_iter().filter(|kind| format!("{kind:?}") == name).collect()
}

#[test]
fn the_images_of_others() {
    let Some(expected) = data("expected.tsv") else { return };
    if !plugins::built() {
        return;
    }
    let bench = Bench::new(PROGRAM).unwrap();
    let directory = bench.place().directory;
    let rows = table(&expected).unwrap();
    let all = std::env::var_os("WITVIRT_LARGE_IMAGES").is_some();
    // Images of several files need all of them.
    for row in &rows {
        let path = expected.with_file_name(&row["path"]);
        if all || size_of(row) <= LARGE {
            unpack(&path, &directory.join(path.parent().unwrap().file_name().unwrap())).unwrap();
        }
    }
    let (mut right, mut refused, mut left, mut wrong) = (0, 0, Vec::new(), Vec::new());
    for row in &rows {
        let (path, content) = (row["path"].as_str(), row["true_content_sha256"].as_str());
        let format = row["used_format"].as_str();
        if (!all && size_of(row) > LARGE) || ["bochs", "cloop"].contains(&format) {
            left.push(path);
            continue;
        }
        let name = ["gz", "bz2", "zst"].iter().find_map(|packing| path.strip_suffix(&format!(".{packing}")));
        let mut case = present(name.unwrap_or(path), format, Verdict::Refuse(Vec::new(), String::new()));
        if format.is_empty() {
            case = case.probed();
        }
        let ended = bench.import(&case, &directory).unwrap();
        if let Some(outcome) = &ended.outcome {
            let grown = outcome.peak.saturating_sub(outcome.idle);
            println!("{path}: {:.1} s, {:.1} busy, {} MiB", outcome.seconds, outcome.busy, grown >> 20);
            if grown > MEMORY {
                wrong.push(format!("{path}: it took {} MiB", grown >> 20));
            }
        }
        match ended.outcome.map(|outcome| outcome.result) {
            None => wrong.push(format!("{path}: it was killed or died")),
            Some(Err(_)) if content.is_empty() => refused += 1,
            Some(Err(failure)) => wrong.push(format!("{path}: {}: {}", failure.kind, failure.message)),
            Some(Ok(_)) if content.is_empty() => {
                wrong.push(format!("{path} has no right content, and was imported"))
            }
            Some(Ok(digest)) => {
                let found = sha256(&ended.store.join("images").join(digest).join("disk.raw"));
                if found == content {
                    right += 1;
                } else {
                    wrong.push(format!("{path} reads as {found}"));
                }
            }
        }
    }
    println!(
        "{right} images of others are right, {refused} refused; not tried (large, or no plugin): {left:?}"
    );
    assert!(right > 10, "{right}");
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n"));
}

/// What a guest sees has at most so many bytes, where the table says it.
fn size_of(row: &corpus::Row) -> u64 {
    let stated: u64 = row["virtual_size"].parse().unwrap_or(0);
    // Those that qemu-img refuses, and which are large.
    let path = row.get("path").map(String::as_str).unwrap_or_default();
    if path.contains("10G") || path.contains("log-replay") { 10 << 30 } else { stated }
}

#[test]
fn the_matrix() {
    let Some(script) = data("make.sh") else { return };
    if !plugins::built() || !have("qemu-img", "qemu-utils") || !have("python3", "python3") {
        return;
    }
    let bench = Bench::new(PROGRAM).unwrap();
    let directory = bench.place().directory;
    // Encrypted images are not read, and take long to make, as one of 5 GiB does.
    let text = fs::read_to_string(&script).unwrap();
    let plain: Vec<&str> = text
        .lines()
        .filter(|line| !["-O luks", "encrypt.", "vmdk-multi"].iter().any(|word| line.contains(word)))
        .collect();
    let script = directory.with_file_name("make.sh");
    fs::write(&script, plain.join("\n")).unwrap();
    let made = std::process::Command::new("bash").arg(&script).arg(&directory).env("SIZE_MIB", "4").output();
    if !made.unwrap().status.success() {
        println!("skipped: the script cannot make its images here");
        return;
    }
    let rows = table(&directory.join("expected.tsv")).unwrap();
    let (mut right, mut left, mut wrong) = (0, Vec::new(), Vec::new());
    for row in &rows {
        let (file, format) = (row["file"].as_str(), row["format"].as_str());
        // The contents are small; where the disk is not, it is for its tables, which the plugins' own tests look at.
        let large = size_of(row) > 256 << 20;
        if large
            || !row["secret"].is_empty()
            || ["luks", "qcow"].contains(&format)
            || !directory.join(file).exists()
        {
            left.push(file);
            continue;
        }
        let case = present(file, format, Verdict::Confine(Content::Sha256(row["content_sha256"].clone())));
        let ended = bench.import(&case, &directory).unwrap();
        let found = faults(&case, &ended);
        right += usize::from(found.is_empty());
        wrong.extend(found.into_iter().map(|fault| format!("{file}: {fault}")));
    }
    println!("{right} images of qemu-img are right; not tried: {left:?}");
    assert!(right >= 40, "{right}");
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n"));
}

/// Chains whose images have different formats, as qemu-img makes them.
#[test]
fn chains_across_formats() {
    if !plugins::built() || !have("qemu-img", "qemu-utils") || !have("qemu-io", "qemu-utils") {
        return;
    }
    let bench = Bench::new(PROGRAM).unwrap();
    let directory = bench.place().directory;
    let image = |line: &str| {
        run("qemu-img", &line.split_whitespace().collect::<Vec<_>>(), &directory).unwrap();
    };
    let write = |format: &str, file: &str, command: &str| {
        run("qemu-io", &["-f", format, "-c", command, file], &directory).unwrap();
    };
    fs::write(directory.join("base.raw"), witvirt_hostile::bytes::noise(4 << 20)).unwrap();
    for (format, file) in [
        ("vmdk", "b.vmdk"),
        ("vdi", "b.vdi"),
        ("vpc", "b.vhd"),
        ("vhdx", "b.vhdx"),
        ("qed", "b.qed"),
        ("parallels", "b.hds"),
    ] {
        // The same size in every format, which for VHD has to be said.
        let options = if format == "vpc" { "-o force_size=on" } else { "" };
        image(&format!("convert -f raw -O {format} {options} base.raw {file}"));
        let over = format!("over-{format}.qcow2");
        image(&format!("create -q -f qcow2 -F {format} -b {file} {over} 4M"));
        write("qcow2", &over, "write -q -P 0x5a 1M 64k");
        image(&format!("create -q -f qcow2 -F qcow2 -b {over} top-{format}.qcow2 5M"));
        write("qcow2", &format!("top-{format}.qcow2"), "write -q -P 0xa5 3M 512");
        check(&bench, &directory, &format!("top-{format}.qcow2"), "qcow2");
    }
    // The parent of a VMDK is a VMDK; what that is made of is its own affair.
    image("convert -f raw -O vmdk -o subformat=twoGbMaxExtentFlat base.raw flat.vmdk");
    image("create -q -f vmdk -F vmdk -b flat.vmdk child.vmdk");
    write("vmdk", "child.vmdk", "write -q -P 0x77 2M 64k");
    check(&bench, &directory, "child.vmdk", "vmdk");
}

/// The import has what qemu-img reads.
fn check(bench: &Bench, directory: &Path, file: &str, format: &str) {
    run("qemu-img", &["convert", "-f", format, "-O", "raw", file, "qemu.raw"], directory).unwrap();
    let content = Content::Sha256(sha256(&directory.join("qemu.raw")));
    let case = present(file, format, Verdict::Confine(content));
    let ended = bench.import(&case, directory).unwrap();
    let found = faults(&case, &ended);
    assert!(found.is_empty(), "{file}: {found:?}");
}
