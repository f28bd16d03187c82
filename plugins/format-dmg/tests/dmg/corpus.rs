//! Images that others wrote, in a folder beside the repository. Skipped where it is absent.

use std::io::Read;
use std::path::Path;
use std::process::Command;

use format_dmg::image::Image;
use format_dmg::probe::probe;
use sha2::{Digest, Sha256};
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::data;

use crate::support::content;

/// The columns of the rows whose first column matches.
fn rows(path: &Path, wanted: impl Fn(&str) -> bool) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>());
    rows.filter(|row| wanted(&row[0])).collect()
}

#[test]
fn images_of_others() {
    let Some(expected) = data("expected.tsv") else { return };
    let head = rows(&expected, |name| name == "path").remove(0);
    let digest = head.iter().position(|name| name == "true_content_sha256").unwrap();
    let images = rows(&expected, |name| name.contains(".dmg"));
    assert!(!images.is_empty());
    for row in images {
        let packed = std::fs::read(data(&row[0]).unwrap()).unwrap();
        let mut file = Vec::new();
        bzip2::read::BzDecoder::new(&packed[..]).read_to_end(&mut file).unwrap();
        assert_eq!(probe(&file[..4096], &file[file.len() - 4096..]).map(|found| found.confidence), Some(100));
        let sum = Sha256::digest(content(&file, 100).unwrap());
        let sum: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(sum, row[digest], "{}", row[0]);
        // The checksum over the tables' checksums is Apple's.
        let mut image = Image::open(file.clone()).unwrap();
        assert!(
            image.facts().iter().any(|(name, value)| name == "master-checksum" && value.starts_with("crc32"))
        );
        assert_eq!(image.check().unwrap(), [], "{}", row[0]);
        let at = file.len() - 512 + 360;
        file[at] ^= 1;
        assert_eq!(Image::open(file).unwrap().check().unwrap()[0].code, "master-checksum");
    }
}

#[test]
fn hostile_images_of_others() {
    let Some(generator) = data("hostile/make-hostile.py") else { return };
    // The script makes images of every format, which takes seconds; only its part about this one is run.
    let script = std::fs::read_to_string(generator).unwrap();
    let (helpers, rest) = script.split_once("def qcow2(").unwrap();
    let (_, rest) = rest.split_once("\nxml = ").unwrap();
    let (part, rest) = rest.split_once("# --- vhdx").unwrap();
    let (_, table) = rest.split_once("\nwith open('hostile.tsv'").unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let (part_script, out) = (scratch.path().join("part.py"), scratch.path().join("out"));
    std::fs::write(&part_script, format!("{helpers}xml = {part}with open('hostile.tsv'{table}")).unwrap();
    let run = Command::new("python3").arg(part_script).arg(&out).arg(scratch.path().join("canary")).output();
    if run.is_err() {
        eprintln!("skipped: python3 is missing (Debian: apt-get install python3)");
        return;
    }
    let images = rows(&out.join("hostile.tsv"), |name| name.ends_with(".dmg"));
    assert!(!images.is_empty());
    for row in images {
        let error = Image::open(std::fs::read(out.join(&row[0])).unwrap()).map(drop).unwrap_err();
        assert!(error.message.contains("entities"), "{}: {error:?}", row[0]);
    }
}
