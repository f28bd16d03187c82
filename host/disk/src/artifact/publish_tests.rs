use serde_json::json;
use witvirt_core::Digest;
use witvirt_core::artifact::{Manifest, Packed, Packing, PublishRequest, SmallBlob, TarEntry};

use super::{check_documents, check_manifest, check_packings};

fn request() -> PublishRequest {
    PublishRequest {
        layout: "x".to_owned(),
        format: None,
        virtual_size: 1 << 20,
        architecture: "amd64".to_owned(),
        os: "linux".to_owned(),
        created: "2026-01-01T00:00:00Z".to_owned(),
        inputs: vec![("disk".to_owned(), 1 << 20), ("nvram".to_owned(), 100)],
        options: json!({}),
    }
}

fn disk() -> Packing {
    Packing {
        id: "disk".to_owned(),
        role: "disk".to_owned(),
        format: Some("raw".to_owned()),
        member: Some(TarEntry { path: "disk/a.img".to_owned(), uid: 107, gid: 107, mode: 0o440 }),
        compression: "gzip".to_owned(),
    }
}

fn nvram() -> Packing {
    Packing {
        id: "nvram".to_owned(),
        role: "nvram".to_owned(),
        format: None,
        member: None,
        compression: String::new(),
    }
}

#[test]
fn what_there_is_can_be_packed() {
    check_packings(&request(), &[disk(), nvram()]).unwrap();
    let refused = |packings: &[Packing]| check_packings(&request(), packings).unwrap_err().to_string();
    assert!(refused(&[]).contains("0 blobs"));
    assert!(refused(&[nvram()]).contains("exactly once"));
    assert!(refused(&[disk(), disk()]).contains("exactly once"));
    assert!(refused(&[disk(), Packing { id: "disk".to_owned(), ..nvram() }]).contains("taken twice"));
    assert!(refused(&[disk(), Packing { role: "tpm".to_owned(), ..nvram() }]).contains("role \"tpm\""));
    assert!(refused(&[Packing { format: None, ..disk() }]).contains("image format"));
    assert!(refused(&[Packing { compression: "xz".to_owned(), ..disk() }]).contains("compression \"xz\""));
    let at = |path: &str| TarEntry { path: path.to_owned(), uid: 0, gid: 0, mode: 0 };
    for path in ["", "/disk", "a/../b", "a/", &"x".repeat(101)] {
        assert!(refused(&[Packing { member: Some(at(path)), ..disk() }]).contains("no path"), "{path}");
    }
    let strange = TarEntry { mode: 0o10000, ..at("a") };
    assert!(refused(&[Packing { member: Some(strange), ..disk() }]).contains("does not fit"));
}

#[test]
fn documents_are_few_and_small() {
    let document = |id: &str, size| SmallBlob { id: id.to_owned(), content: vec![0; size] };
    check_documents(&[disk()], &[document("config", 1 << 20)]).unwrap();
    assert!(check_documents(&[disk()], &[document("disk", 1)]).is_err());
    assert!(check_documents(&[disk()], &[document("config", (1 << 20) + 1)]).is_err());
    let many: Vec<SmallBlob> = (0..17).map(|n| document(&n.to_string(), 1)).collect();
    assert!(check_documents(&[disk()], &many).is_err());
}

#[test]
fn a_manifest_describes_what_was_made() {
    let packed = |number: u8| Packed {
        id: number.to_string(),
        digest: Digest::from_bytes([number; 32]),
        size: 5,
        content_digest: Digest::from_bytes([0; 32]),
        content_size: 9,
    };
    let manifest = |layers: &[(u8, u64)]| {
        let layer =
            |(number, size): &(u8, u64)| json!({ "digest": Digest::from_bytes([*number; 32]), "size": size });
        let layers: Vec<_> = layers.iter().map(layer).collect();
        Manifest { media_type: String::new(), text: json!({ "layers": layers }).to_string() }
    };
    let made = [packed(1), packed(2)];
    check_manifest(&manifest(&[(2, 5), (1, 5)]), &made).unwrap();
    let refused = |layers: &[(u8, u64)]| check_manifest(&manifest(layers), &made).unwrap_err().to_string();
    assert!(refused(&[(1, 5)]).contains("does not describe sha256:0202"));
    assert!(refused(&[(1, 5), (2, 5), (3, 5)]).contains("sha256:0303"));
    assert!(refused(&[(1, 6), (2, 5)]).contains("of 6 bytes, which is not in the artifact"));
}
