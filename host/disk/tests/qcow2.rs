//! Real qcow2 files, made and judged by qemu-img.
#![allow(missing_docs)]

mod formats;

use std::fs;

use formats::{Bench, content, qemu_img, run};
use witvirt_disk::{
    ConvertRequest, ConvertSource, ErrorKind, ImageState, ImportRequest, Progress, SourceFile,
};

const SIZE: usize = 24 << 20;

fn disk_of(bench: &Bench, record: &witvirt_disk::ImageRecord) -> Vec<u8> {
    fs::read(bench.dir.path().join("store/images").join(record.digest.hex()).join("disk.raw")).unwrap()
}

#[test]
fn every_way_to_write_the_same_disk_imports_as_the_same_image() {
    if !qemu_img() {
        return;
    }
    let bench = Bench::new();
    let bytes = content(1, SIZE);
    fs::write(bench.path("source.raw"), &bytes).unwrap();
    let dir = bench.dir.path().join("images");
    let options: [&[&str]; 10] = [
        &["-o", "compat=0.10"],
        &["-o", "compat=1.1"],
        &["-c"],
        &["-c", "-o", "compression_type=zstd"],
        &["-o", "cluster_size=512"],
        &["-c", "-o", "cluster_size=512"],
        &["-c", "-o", "cluster_size=2M"],
        &["-c", "-o", "cluster_size=2M,compression_type=zstd"],
        &["-o", "extended_l2=on,cluster_size=128k"],
        &["-S", "0"],
    ];
    let mut digests = Vec::new();
    for (index, options) in options.iter().enumerate() {
        let name = format!("{index}.qcow2");
        let convert = ["convert", "-f", "raw", "-O", "qcow2"];
        run("qemu-img", &[&convert, *options, &["source.raw", &name]].concat(), &dir);
        let request = ImportRequest::new(SourceFile::new(bench.path(&name)));
        let progress = Progress::new();
        let imported = bench.store.import(bench.access(), &request, &progress).unwrap();
        assert_eq!(imported.existed, index > 0, "{options:?}");
        assert_eq!(progress.status().done, progress.status().total, "{options:?}");
        digests.push(imported.record.digest);
        if index == 0 {
            assert!(disk_of(&bench, &imported.record) == bytes);
            assert!(imported.record.allocated < SIZE as u64 * 9 / 10, "holes are kept");
        }
    }
    digests.dedup();
    assert_eq!(digests.len(), 1);
    // The raw file itself is the same disk too.
    let request = ImportRequest::new(SourceFile::new(bench.path("source.raw")).with_format("raw"));
    let imported = bench.store.import(bench.access(), &request, &Progress::new()).unwrap();
    assert_eq!((imported.existed, imported.record.digest), (true, digests[0]));
    assert_eq!(bench.unfinished().len(), 0);
    assert_eq!(bench.store.verify(&digests[0].hex(), &Progress::new()).unwrap(), digests[0]);
}

#[test]
fn backing_chains_read_as_qemu_reads_them() {
    if !qemu_img() {
        return;
    }
    let bench = Bench::new();
    let dir = bench.dir.path().join("images");
    fs::create_dir(dir.join("below")).unwrap();
    fs::write(dir.join("below/base.raw"), content(2, SIZE / 3)).unwrap();
    // The base is shorter than the middle, and that than the top.
    run(
        "qemu-img",
        &["convert", "-c", "-O", "qcow2", "-f", "raw", "below/base.raw", "below/base.qcow2"],
        &dir,
    );
    run(
        "qemu-img",
        &["create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "below/middle.qcow2", "12M"],
        &dir,
    );
    run(
        "qemu-img",
        &["create", "-q", "-f", "qcow2", "-b", "below/middle.qcow2", "-F", "qcow2", "top.qcow2", "20M"],
        &dir,
    );
    for (file, command) in [
        ("below/middle.qcow2", "write -P 0x11 3M 70000"),
        ("below/middle.qcow2", "write -z 5M 1M"),
        ("below/middle.qcow2", "write -P 0x22 11M 1M"),
        ("top.qcow2", "write -P 0x33 3080192 64k"),
        ("top.qcow2", "write -P 0x44 13M 5k"),
        ("top.qcow2", "write -z 7M 300k"),
    ] {
        run("qemu-io", &["-c", command, "-f", "qcow2", file], &dir);
    }
    run("qemu-img", &["convert", "-O", "raw", "-f", "qcow2", "top.qcow2", "expected.raw"], &dir);
    let request = ImportRequest::new(SourceFile::new(bench.path("top.qcow2")));
    let imported = bench.store.import(bench.access(), &request, &Progress::new()).unwrap();
    assert!(disk_of(&bench, &imported.record) == fs::read(dir.join("expected.raw")).unwrap());
    let below: Vec<_> =
        imported.record.origin.chain.iter().map(|file| file.path.rsplit('/').next().unwrap()).collect();
    assert_eq!(below, ["middle.qcow2", "base.qcow2"]);
}

#[test]
fn an_external_data_file_is_attached() {
    if !qemu_img() {
        return;
    }
    let bench = Bench::new();
    let dir = bench.dir.path().join("images");
    fs::write(dir.join("source.raw"), content(3, SIZE / 4)).unwrap();
    run(
        "qemu-img",
        &["convert", "-O", "qcow2", "-o", "data_file=bytes.raw", "source.raw", "table.qcow2"],
        &dir,
    );
    let request = ImportRequest::new(SourceFile::new(bench.path("table.qcow2")));
    let imported = bench.store.import(bench.access(), &request, &Progress::new()).unwrap();
    assert!(disk_of(&bench, &imported.record) == fs::read(dir.join("source.raw")).unwrap());
    fs::remove_file(dir.join("bytes.raw")).unwrap();
    let error = bench.store.import(bench.access(), &request, &Progress::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[test]
fn names_in_images_reach_nothing_that_was_not_allowed() {
    if !qemu_img() {
        return;
    }
    let bench = Bench::new();
    let dir = bench.dir.path().join("images");
    fs::write(bench.dir.path().join("secret.raw"), vec![b'S'; 1 << 20]).unwrap();
    std::os::unix::fs::symlink(bench.dir.path().join("secret.raw"), dir.join("link.raw")).unwrap();
    let absolute = bench.dir.path().join("secret.raw");
    for (backing, word) in [
        ("../secret.raw", "\"..\""),
        (absolute.to_str().unwrap(), "outside the allowed directories"),
        ("link.raw", "symbolic link"),
        ("nbd://127.0.0.1:1/x", "protocol"),
        ("json:{\"driver\":\"null-co\"}", "protocol"),
        ("/dev/zero", "outside the allowed directories"),
        ("./self.qcow2", "below itself"),
    ] {
        let create = ["create", "-q", "-u", "-f", "qcow2", "-F"];
        let format = if backing == "./self.qcow2" { "qcow2" } else { "raw" };
        run("qemu-img", &[&create[..], &[format, "-b", backing, "self.qcow2", "1M"]].concat(), &dir);
        let request = ImportRequest::new(SourceFile::new(bench.path("self.qcow2")));
        let error = bench.store.import(bench.access(), &request, &Progress::new()).unwrap_err();
        assert!(error.to_string().contains(word), "{backing}: {error}");
        assert_eq!(bench.unfinished().len(), 0);
    }
    // A backing file without a stated format is not probed.
    let header = fs::read(dir.join("self.qcow2")).unwrap();
    let mut nameless = header.clone();
    let extension = header.windows(4).position(|bytes| bytes == [0xe2, 0x79, 0x2a, 0xca]).unwrap();
    nameless[extension..extension + 4].copy_from_slice(&[0x12, 0x34, 0x56, 0x78]);
    fs::write(dir.join("nameless.qcow2"), nameless).unwrap();
    let request = ImportRequest::new(SourceFile::new(bench.path("nameless.qcow2")));
    let error = bench.store.import(bench.access(), &request, &Progress::new()).unwrap_err();
    assert!(error.to_string().contains("does not say which format"), "{error}");
    assert!(bench.store.list().unwrap().is_empty());
}

#[test]
fn converts_to_what_qemu_img_takes_for_the_same() {
    if !qemu_img() {
        return;
    }
    let bench = Bench::new();
    let dir = bench.dir.path().join("images");
    fs::write(dir.join("source.raw"), content(4, SIZE + 512)).unwrap();
    let request = ImportRequest::new(SourceFile::new(bench.path("source.raw")).with_format("raw"));
    let image = bench.store.import(bench.access(), &request, &Progress::new()).unwrap().record.digest;
    for (format, options) in [
        ("raw", serde_json::json!({})),
        ("qcow2", serde_json::json!({})),
        ("qcow2", serde_json::json!({"compression": "zlib"})),
        ("qcow2", serde_json::json!({"compression": "zstd"})),
        ("qcow2", serde_json::json!({"compression": "zlib", "cluster-size": 2_097_152})),
        ("qcow2", serde_json::json!({"compression": "zstd", "cluster-size": 512})),
    ] {
        let shown = format!("{format} {options}");
        let mut request = ConvertRequest {
            source: ConvertSource::Image(image.hex()),
            target: bench.path("out"),
            format: format.into(),
            options,
            backing: None,
            replace: false,
            sync: true,
        };
        let converted = bench.store.convert(bench.access(), &request, &Progress::new()).unwrap();
        assert_eq!(converted.size, fs::metadata(bench.path("out")).unwrap().len(), "{shown}");
        run("qemu-img", &["compare", "-f", "raw", "-F", format, "source.raw", "out"], &dir);
        if format == "qcow2" {
            run("qemu-img", &["check", "-q", "-f", "qcow2", "out"], &dir);
        }
        let error = bench.store.convert(bench.access(), &request, &Progress::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
        request.replace = true;
        request.source = ConvertSource::File(SourceFile::new(bench.path("source.raw")).with_format("raw"));
        bench.store.convert(bench.access(), &request, &Progress::new()).unwrap();
        run("qemu-img", &["compare", "-f", "raw", "-F", format, "source.raw", "out"], &dir);
        fs::remove_file(bench.path("out")).unwrap();
    }
    let left: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["source.raw"]);
}

#[test]
fn an_image_that_a_machine_writes_is_refused() {
    if !qemu_img() {
        return;
    }
    let bench = Bench::new();
    let dir = bench.dir.path().join("images");
    run("qemu-img", &["create", "-q", "-f", "qcow2", "used.qcow2", "1M"], &dir);
    let mut writer = std::process::Command::new("qemu-io")
        .args(["-f", "qcow2", "used.qcow2"])
        .current_dir(&dir)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // It answers once it has opened the image.
    let mut input = writer.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, b"length\n").unwrap();
    let mut output = std::io::BufReader::new(writer.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    let request = ImportRequest::new(SourceFile::new(bench.path("used.qcow2")));
    let error = bench.store.import(bench.access(), &request, &Progress::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse, "{error}");
    drop(input);
    writer.wait().unwrap();
    let imported = bench.store.import(bench.access(), &request, &Progress::new()).unwrap();
    assert_eq!(bench.store.inspect(&imported.record.digest.hex()).unwrap().state, ImageState::Ready);
}
