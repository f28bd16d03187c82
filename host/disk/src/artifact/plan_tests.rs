use proptest::prelude::*;
use witvirt_core::Digest;
use witvirt_core::artifact::{ArtifactChunk, Descriptor, Disk, DiskContent, File, Plan, Stored};

use super::{check_plan, disk_of};
use crate::error::ErrorKind;
use crate::limits::Limits;

fn digest(number: u8) -> Digest {
    Digest::from_bytes([number; 32])
}

/// Blob N has N * 100 bytes.
fn blobs() -> Vec<Descriptor> {
    (0..8).map(|number| Descriptor { digest: digest(number), size: u64::from(number) * 100 }).collect()
}

fn stored(encoding: &str, blob: u8) -> Stored {
    Stored {
        blobs: vec![digest(blob)],
        encoding: encoding.to_owned(),
        member: None,
        length: None,
        digest: None,
    }
}

fn tar(member: &str, blob: u8) -> Stored {
    Stored { member: Some(member.to_owned()), ..stored("tar+gzip", blob) }
}

fn chunk(offset: u64, length: u64, blob: u8) -> ArtifactChunk {
    ArtifactChunk { offset, content: Stored { length: Some(length), ..stored("lz4-apple", blob) } }
}

fn of(content: DiskContent) -> Plan {
    Plan {
        disks: vec![Disk { name: "disk".to_owned(), format: None, content }],
        files: Vec::new(),
        facts: Vec::new(),
    }
}

fn chunks(size: u64, chunks: Vec<ArtifactChunk>) -> Plan {
    of(DiskContent::Chunks { size, chunks })
}

fn refused(plan: Plan) -> String {
    check_plan(plan, &blobs(), &Limits::default()).unwrap_err().to_string()
}

fn taken(plan: Plan) -> Plan {
    check_plan(plan, &blobs(), &Limits::default()).unwrap()
}

#[test]
fn plans_that_can_be() {
    taken(of(DiskContent::Whole(vec![tar("disk/", 1), tar("disk/a.img", 2), stored("auto", 3)])));
    taken(of(DiskContent::Whole(vec![Stored { length: Some(200), ..stored("", 2) }])));
    let sorted = taken(chunks(1000, vec![chunk(500, 500, 2), chunk(0, 400, 1), chunk(400, 100, 1)]));
    let DiskContent::Chunks { chunks: all, .. } = &sorted.disks[0].content else { panic!("no chunks") };
    assert_eq!(all.iter().map(|chunk| chunk.offset).collect::<Vec<_>>(), [0, 400, 500]);
    taken(chunks(1000, Vec::new()));
}

#[test]
fn blobs_that_the_manifest_does_not_have() {
    let text = refused(of(DiskContent::Whole(vec![stored("gzip", 9)])));
    assert!(
        text.starts_with("disk \"disk\": sha256:0909") && text.ends_with("is not in the manifest"),
        "{text}"
    );
    let none = Stored { blobs: Vec::new(), ..stored("", 1) };
    assert!(refused(of(DiskContent::Whole(vec![none]))).contains("0 blobs"));
    let many = Stored { blobs: vec![digest(1); 16_385], ..stored("", 1) };
    assert!(refused(of(DiskContent::Whole(vec![many]))).contains("at most 16384"));
    let file = File { role: "nvram".to_owned(), name: "n".to_owned(), content: stored("", 9) };
    let mut plan = chunks(0, Vec::new());
    plan.files.push(file);
    assert!(refused(plan).starts_with("file \"n\": sha256:0909"));
}

#[test]
fn chunks_that_lie() {
    let text = refused(chunks(1000, vec![chunk(0, 500, 1), chunk(499, 10, 2)]));
    assert_eq!(text, "disk \"disk\": chunk at 499: it overlaps the one before, which ends at 500");
    let text = refused(chunks(1000, vec![chunk(900, 101, 1)]));
    assert_eq!(text, "disk \"disk\": chunk at 900: its 101 bytes end past the 1000 of the file");
    assert!(refused(chunks(1000, vec![chunk(u64::MAX, 2, 1)])).contains("end past"));
    assert!(refused(chunks(1000, vec![chunk(0, 0, 1)])).contains("no length"));
    assert!(refused(chunks(u64::MAX, Vec::new())).contains("at most"));
    let text = refused(chunks(
        1000,
        vec![ArtifactChunk { offset: 0, content: Stored { length: Some(9), ..tar("a", 1) } }],
    ));
    assert!(text.ends_with("the encoding \"tar+gzip\" is for whole files"), "{text}");
    let plain = ArtifactChunk { offset: 0, content: Stored { length: Some(99), ..stored("", 1) } };
    assert!(refused(chunks(1000, vec![plain])).ends_with("stored as it is in 100 bytes, and 99 bytes long"));
}

#[test]
fn places_members_and_encodings() {
    let whole = |places: Vec<Stored>| refused(of(DiskContent::Whole(places)));
    assert!(whole(Vec::new()).contains("0 places"));
    assert!(whole(vec![tar("a", 1); 257]).contains("257 places"));
    assert!(whole(vec![stored("gzip", 1), tar("a", 2)]).contains("place 0 is no tar"));
    assert!(whole(vec![stored("lzma", 1)]).contains("the encoding \"lzma\" is unknown"));
    assert!(whole(vec![stored("tar", 1)]).contains("no member of its tar"));
    assert!(
        whole(vec![Stored { member: Some("a".to_owned()), ..stored("gzip", 1) }]).contains("there is no tar")
    );
    for path in ["", "/", "/etc/passwd", "../a", "a/../b", "./a", "a//b", "a\0b", "a/./"] {
        assert!(whole(vec![tar(path, 1)]).contains("is no path of a tar's member"), "{path}");
    }
    let long = Stored { length: Some(u64::MAX), ..stored("zstd", 1) };
    assert!(whole(vec![long]).contains("18446744073709551615 bytes, at most"));
}

#[test]
fn counts_and_names() {
    assert!(refused(Plan { disks: Vec::new(), ..chunks(0, Vec::new()) }).contains("a plan of 0 disks"));
    let mut twins = chunks(0, Vec::new());
    twins.disks.push(twins.disks[0].clone());
    assert!(refused(twins).contains("taken twice: \"disk\""));
    let mut nameless = chunks(0, Vec::new());
    nameless.disks[0].name.clear();
    assert!(refused(nameless).contains("empty"));
    let mut formless = chunks(0, Vec::new());
    formless.disks[0].format = Some(String::new());
    assert!(refused(formless).contains("format is empty"));
    let blobs = [Descriptor { digest: digest(1), size: 1 }, Descriptor { digest: digest(1), size: 2 }];
    let error = check_plan(chunks(0, Vec::new()), &blobs, &Limits::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn a_file_beside_the_disks_is_small() {
    let large = [Descriptor { digest: digest(1), size: 1 << 40 }];
    let mut plan = chunks(0, Vec::new());
    plan.files.push(File { role: "nvram".to_owned(), name: "n".to_owned(), content: stored("", 1) });
    let error = check_plan(plan, &large, &Limits::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
}

#[test]
fn the_disk_that_is_meant() {
    let mut plan = chunks(0, Vec::new());
    assert_eq!(disk_of(&plan, None).unwrap().name, "disk");
    plan.disks.push(Disk { name: "data".to_owned(), ..plan.disks[0].clone() });
    assert_eq!(disk_of(&plan, Some("data")).unwrap().name, "data");
    assert!(disk_of(&plan, None).unwrap_err().to_string().ends_with("name one of them: disk, data"));
    assert!(disk_of(&plan, Some("x")).unwrap_err().to_string().ends_with("there are: disk, data"));
}

fn any_stored() -> impl Strategy<Value = Stored> {
    let encoding = prop::sample::select(vec!["", "gzip", "lz4-apple", "tar", "tar+gzip", "auto", "odd"]);
    let member = prop::option::of(prop::sample::select(vec!["disk/", "a/b", "../a"]));
    let length = prop::option::of(prop_oneof![0..600u64, any::<u64>()]);
    (prop::collection::vec(0..9u8, 0..3), encoding, member, length).prop_map(
        |(blobs, encoding, member, length)| Stored {
            blobs: blobs.into_iter().map(digest).collect(),
            encoding: encoding.to_owned(),
            member: member.map(str::to_owned),
            length,
            digest: None,
        },
    )
}

fn any_content() -> impl Strategy<Value = DiskContent> {
    let chunk = (prop_oneof![0..3000u64, any::<u64>()], any_stored())
        .prop_map(|(offset, content)| ArtifactChunk { offset, content });
    let simple = (0..3000u64, 1..400u64, 0..8u8).prop_map(|(offset, length, blob)| {
        let content = Stored { length: Some(length), ..stored("gzip", blob) };
        ArtifactChunk { offset, content }
    });
    prop_oneof![
        prop::collection::vec(any_stored(), 0..4).prop_map(DiskContent::Whole),
        (0..4000u64, prop::collection::vec(prop_oneof![chunk, simple.clone()], 0..4))
            .prop_map(|(size, chunks)| DiskContent::Chunks { size, chunks }),
        (3000..4000u64, prop::collection::vec(simple, 0..5))
            .prop_map(|(size, chunks)| DiskContent::Chunks { size, chunks }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// Whatever is let through can be carried out: ranges ascend inside the file, blobs exist, tars have members.
    #[test]
    fn what_is_taken_is_sound(content in any_content()) {
        let blobs = blobs();
        let Ok(plan) = check_plan(of(content), &blobs, &Limits::default()) else { return Ok(()) };
        let mut all = Vec::new();
        match &plan.disks[0].content {
            DiskContent::Whole(places) => {
                prop_assert!(!places.is_empty());
                all.extend(places);
            }
            DiskContent::Chunks { size, chunks } => {
                let mut end = 0;
                for chunk in chunks {
                    prop_assert!(chunk.offset >= end);
                    end = chunk.offset + chunk.content.length.unwrap();
                    prop_assert!(end > chunk.offset && end <= *size);
                    all.push(&chunk.content);
                }
            }
        }
        for stored in all {
            prop_assert!(!stored.blobs.is_empty());
            prop_assert!(stored.blobs.iter().all(|named| blobs.iter().any(|blob| blob.digest == *named)));
            prop_assert!(stored.encoding != "odd");
            prop_assert_ne!(stored.member.as_deref(), Some("../a"));
            prop_assert!(!stored.encoding.starts_with("tar") || stored.member.is_some());
        }
    }
}
