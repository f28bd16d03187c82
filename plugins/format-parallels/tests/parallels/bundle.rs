//! Bundles, which QEMU does not read. Where its program is here, it writes the parts.

use format_parallels::ErrorKind;
use format_parallels::Parallels;
use format_parallels::image::Image;
use witvirt_sdk::core::extent::Reference;
use witvirt_sdk::disk::ImageReader;
use witvirt_testkit::{FileSource, content, file_content, have_qemu, stripes};

use crate::Scratch;
use crate::fuzz::body::{Storage, descriptor, part};

const TOP: &str = "5fbaabe3-6958-40ff-92a7-860e329aab41";
const MIDDLE: &str = "11111111-2222-3333-4444-555555555555";
const BASE: &str = "66666666-7777-8888-9999-000000000000";
/// Of a part of the pattern.
const SECTORS: u64 = 40;
const CLUSTER: usize = 4 * 512;

fn open(storages: &[Storage<'_>], shots: &[(&str, &str)]) -> Image<Vec<u8>> {
    let end = storages.last().unwrap().1;
    Image::open(descriptor(end, storages, shots)).unwrap()
}

#[test]
fn parts_are_references() {
    let image = open(
        &[
            (0, 40, vec![(TOP, "Compressed", "a top.hds"), (BASE, "Plain", "../x/a.hds")]),
            (40, 60, vec![(BASE, "Plain", "/vm/b.hds"), (TOP, "Compressed", "b.hds")]),
        ],
        &[(TOP, BASE), (BASE, "")],
    );
    let reference = |id, name: &str, hint: &str| Reference {
        id,
        role: "extent".to_owned(),
        name: name.to_owned(),
        format_hint: Some(hint.to_owned()),
        required: true,
    };
    let expected = [
        reference(1, "a top.hds", "parallels"),
        reference(2, "../x/a.hds", "raw"),
        reference(3, "b.hds", "parallels"),
        reference(4, "/vm/b.hds", "raw"),
    ];
    assert_eq!(image.references(), expected);
    assert_eq!(image.geometry().virtual_size, 60 * 512);
    assert_eq!(image.geometry().cluster_size as usize, CLUSTER);
}

#[test]
fn what_the_top_has_not_is_in_the_images_below() {
    let mut image = open(
        &[(
            0,
            SECTORS,
            vec![(BASE, "Plain", "base"), (TOP, "Compressed", "top"), (MIDDLE, "Compressed", "middle")],
        )],
        &[(TOP, MIDDLE), (MIDDLE, BASE), (BASE, "")],
    );
    let (top, middle) = (part(true, 0), part(false, 1));
    let base: Vec<u8> = (0..SECTORS * 512).map(|at| (at / 77) as u8 | 2).collect();
    for (id, source) in [(1, &top), (2, &middle), (3, &base)] {
        image.attach(id, source.clone()).unwrap();
    }
    let read = content(&mut image, &[&vec![], &top, &middle, &base], &[]).unwrap();
    let (seen_top, seen_middle) = (alone(&top), alone(&middle));
    for cluster in 0..10 {
        let range = cluster * CLUSTER..(cluster + 1) * CLUSTER;
        // Of three clusters, the top has the first two, and the middle the first and the last.
        let expected = match cluster % 3 {
            0 | 1 => &seen_top[range.clone()],
            _ => &seen_middle[range.clone()],
        };
        assert!(read[range] == *expected, "cluster {cluster}");
    }
    assert_eq!(image.check().unwrap(), []);
    // Without the middle one, the base shows.
    let mut image = open(
        &[(0, SECTORS, vec![(BASE, "Plain", "base"), (TOP, "Compressed", "top")])],
        &[(TOP, BASE), (BASE, "")],
    );
    image.attach(1, top.clone()).unwrap();
    image.attach(2, base.clone()).unwrap();
    let read = content(&mut image, &[&vec![], &top, &base], &[]).unwrap();
    assert!(read[2 * CLUSTER..3 * CLUSTER] == base[2 * CLUSTER..3 * CLUSTER]);
}

fn alone(file: &Vec<u8>) -> Vec<u8> {
    content(&mut Image::open(file.clone()).unwrap(), &[file], &[]).unwrap()
}

#[test]
fn split_disks_written_by_qemu() {
    if !have_qemu() {
        return;
    }
    let scratch = Scratch::new();
    let half = 8 << 20;
    let bytes = stripes(2 * half, 3 << 20);
    for (index, data) in bytes.chunks(half).enumerate() {
        scratch.write(&format!("{index}.raw"), data);
        scratch.qemu_img(&format!("convert -f raw -O parallels {index}.raw {index}.hds"));
    }
    let sectors = half as u64 / 512;
    let text = descriptor(
        2 * sectors,
        &[
            (0, sectors, vec![(TOP, "Compressed", "0.hds")]),
            (sectors, 2 * sectors, vec![(TOP, "Compressed", "1.hds")]),
        ],
        &[(TOP, "")],
    );
    let text = String::from_utf8(text).unwrap().replace("<Blocksize>4<", "<Blocksize>2048<");
    scratch.write("DiskDescriptor.xml", text.as_bytes());
    let open = |name: &str| FileSource::open(&scratch.path(name));
    let mut image = Image::open(open("DiskDescriptor.xml")).unwrap();
    for reference in image.references() {
        image.attach(reference.id, open(&reference.name)).unwrap();
    }
    let sources = [open("DiskDescriptor.xml"), open("0.hds"), open("1.hds")];
    let sources: Vec<&FileSource> = sources.iter().collect();
    assert!(content(&mut image, &sources, &[]).unwrap() == bytes);
    assert!(file_content::<Parallels>(&scratch.path("0.hds")).unwrap() == bytes[..half]);
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let one = |kind: &'static str| open(&[(0, SECTORS, vec![(TOP, kind, "a.hds")])], &[(TOP, "")]);
    let attach = |kind, source: Vec<u8>| one(kind).attach(1, source).unwrap_err();
    let error = attach("Plain", vec![0; SECTORS as usize * 512 - 1]);
    assert!(error.message.contains("shorter than its storage"), "{error:?}");
    let mut small = part(true, 0);
    small[36] = SECTORS as u8 - 1;
    assert!(attach("Compressed", small).message.contains("shorter than its storage"));
    let mut other = part(true, 0);
    other[28] = 8;
    assert!(attach("Compressed", other).message.contains("another cluster size"));
    let error = attach("Compressed", vec![0; 1 << 16]);
    assert_eq!((error.kind, error.message.contains("signature")), (ErrorKind::InvalidInput, true));
    assert_eq!(error.context.last().unwrap(), &("file".to_owned(), "a.hds".to_owned()));
    assert_eq!(one("Plain").attach(2, vec![]).unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(one("Plain").attach(0, vec![]).unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(one("Plain").extents(0, 1, 1).unwrap_err().kind, ErrorKind::NotFound);
    // A cluster that is cut off is found when it is met, and named.
    let mut image = one("Compressed");
    let mut cut = part(true, 0);
    cut.truncate(cut.len() - 1);
    image.attach(1, cut).unwrap();
    let error = image.extents(0, u64::MAX, 1000).unwrap_err();
    assert!(error.message.contains("past the end") && format!("{error:?}").contains("a.hds"), "{error:?}");
}
