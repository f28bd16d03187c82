use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use witvirt_core::artifact::{
    ArtifactLayout, ArtifactLayouts, Claim, Descriptor, Disk, DiskContent, Manifest, Packed, Packing, Plan,
    PublishRequest, SmallBlob, Stored,
};
use witvirt_core::{Digest, PluginError};

use super::{choose, descriptors, interpret};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;

/// Claims everything with `confidence`, wants to see `needs`, and takes the last blob for the disk.
struct Layout {
    name: Vec<String>,
    confidence: u8,
    needs: Vec<Digest>,
}

impl Layout {
    fn new(name: &str, confidence: u8) -> Self {
        Self { name: vec![name.to_owned()], confidence, needs: Vec::new() }
    }
}

impl ArtifactLayout for Layout {
    fn plugin(&self) -> &str {
        "test"
    }

    fn version(&self) -> &str {
        "1.0.0"
    }

    fn layouts(&self) -> &[String] {
        &self.name
    }

    fn publishes(&self) -> bool {
        false
    }

    fn probe(&self, _: &Manifest) -> std::result::Result<Option<Claim>, PluginError> {
        let claim = Claim { confidence: self.confidence, layout: self.name[0].clone(), version: None };
        Ok((self.confidence > 0).then_some(claim))
    }

    fn needs(&self, _: &Manifest, _: &Value) -> std::result::Result<Vec<Digest>, PluginError> {
        Ok(self.needs.clone())
    }

    fn interpret(
        &self,
        manifest: &Manifest,
        blobs: &[(Digest, Vec<u8>)],
        options: &Value,
    ) -> std::result::Result<Plan, PluginError> {
        let stored = Stored {
            blobs: vec![descriptors(manifest).unwrap().pop().unwrap().digest],
            encoding: String::new(),
            member: None,
            length: None,
            digest: None,
        };
        let seen = (blobs.len().to_string(), options.to_string());
        let disk = Disk { name: "disk".to_owned(), format: None, content: DiskContent::Whole(vec![stored]) };
        Ok(Plan { disks: vec![disk], files: Vec::new(), facts: vec![seen] })
    }

    fn prepare(&self, _: &PublishRequest) -> std::result::Result<Vec<Packing>, PluginError> {
        unreachable!("it does not publish")
    }

    fn documents(
        &self,
        _: &PublishRequest,
        _: &[Packed],
    ) -> std::result::Result<Vec<SmallBlob>, PluginError> {
        unreachable!("it does not publish")
    }

    fn compose(&self, _: &PublishRequest, _: &[Packed]) -> std::result::Result<Manifest, PluginError> {
        unreachable!("it does not publish")
    }
}

struct Known(Vec<Arc<dyn ArtifactLayout>>);

impl ArtifactLayouts for Known {
    fn artifact_layouts(&self) -> Vec<Arc<dyn ArtifactLayout>> {
        self.0.clone()
    }
}

fn known(layouts: &[(&str, u8)]) -> Known {
    let layout = |(name, confidence): &(&str, u8)| -> Arc<dyn ArtifactLayout> {
        Arc::new(Layout::new(name, *confidence))
    };
    Known(layouts.iter().map(layout).collect())
}

fn digest_of(content: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(content).into())
}

fn manifest(blobs: &[&[u8]]) -> Manifest {
    let layers: Vec<Value> = blobs
        .iter()
        .map(|blob| json!({ "mediaType": "x/y", "digest": digest_of(blob), "size": blob.len() }))
        .collect();
    let config = json!({ "mediaType": "x/z", "digest": digest_of(b"{}"), "size": 2 });
    let text = json!({ "schemaVersion": 2, "config": config, "layers": layers }).to_string();
    Manifest { media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(), text }
}

#[test]
fn the_surest_plugin_reads() {
    let manifest = manifest(&[]);
    let layouts = known(&[("a", 10), ("b", 90), ("c", 0), ("d", 59)]);
    let chosen = |named| choose(&layouts, &manifest, named).map(|(_, layout)| layout);
    assert_eq!(chosen(None).unwrap(), "b");
    assert_eq!(chosen(Some("c")).unwrap(), "c", "who names a layout is not asked whether it looks like it");
    let error = chosen(Some("e\n")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.to_string(), "no plugin reads the layout \"e\\n\"; there are: a, b, c, d");
}

#[test]
fn two_that_are_certain_and_none_at_all() {
    let manifest = manifest(&[]);
    let error = choose(&known(&[("a", 100), ("b", 60)]), &manifest, None).err().unwrap();
    assert!(error.to_string().ends_with("as a by test and as b by test; name its layout"), "{error}");
    let (_, layout) = choose(&known(&[("a", 59), ("b", 59)]), &manifest, None).unwrap();
    assert_eq!(layout, "a");
    let error = choose(&known(&[("a", 0)]), &manifest, None).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let error = choose(&known(&[]), &manifest, None).err().unwrap();
    assert!(error.to_string().ends_with("has no plugin of kind \"artifact-layout\""), "{error}");
}

fn read(layout: &Layout, manifest: &Manifest, served: &'static [u8]) -> Result<Plan> {
    let mut fetch = |_: &Descriptor| Ok(served.to_vec());
    interpret(layout, "a", manifest, Some("m"), &mut fetch, &Limits::default())
}

#[test]
fn small_blobs_are_verified_before_a_plugin_sees_them() {
    let manifest = manifest(&[b"config", b"disk"]);
    let mut layout = Layout::new("a", 1);
    let options = "{\"layout\":\"a\",\"member\":\"m\"}".to_owned();
    assert_eq!(read(&layout, &manifest, b"").unwrap().facts, [("0".to_owned(), options.clone())]);
    layout.needs = vec![digest_of(b"config")];
    assert_eq!(read(&layout, &manifest, b"config").unwrap().facts, [("1".to_owned(), options)]);
    assert_eq!(read(&layout, &manifest, b"cOnfig").unwrap_err().kind(), ErrorKind::Corrupt);
    layout.needs = vec![digest_of(b"elsewhere")];
    let error = read(&layout, &manifest, b"elsewhere").unwrap_err();
    assert!(error.to_string().starts_with("plugin test 1.0.0: wants to see sha256:"), "{error}");
    let gone = interpret(
        &Layout { needs: vec![digest_of(b"disk")], ..Layout::new("a", 1) },
        "a",
        &manifest,
        None,
        &mut |_| Err(Error::new(ErrorKind::Unavailable, "gone")),
        &Limits::default(),
    );
    assert_eq!(gone.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn a_large_blob_is_shown_to_no_plugin() {
    let mut manifest = manifest(&[b"disk"]);
    manifest.text = manifest.text.replace("\"size\":4", "\"size\":1048577");
    let layout = Layout { needs: vec![digest_of(b"disk")], ..Layout::new("a", 1) };
    let error = read(&layout, &manifest, b"disk").unwrap_err();
    assert!(error.to_string().contains("1048577 bytes, at most 1048576 are shown"), "{error}");
}

#[test]
fn manifests_that_are_none() {
    let read = |text: &str| descriptors(&Manifest { media_type: String::new(), text: text.to_owned() });
    for text in [
        "",
        "[]",
        "{}",
        "{\"layers\":1}",
        "{\"layers\":[{}]}",
        "{\"layers\":[{\"digest\":\"x\",\"size\":-1}]}",
    ] {
        assert_eq!(read(text).unwrap_err().kind(), ErrorKind::Corrupt, "{text}");
    }
    let other = "{\"layers\":[{\"digest\":\"sha512:00\",\"size\":1}]}";
    assert_eq!(read(other).unwrap_err().kind(), ErrorKind::Unsupported);
    let bare = format!("{{\"layers\":[{{\"digest\":\"{}\",\"size\":1}}]}}", "0".repeat(64));
    assert_eq!(read(&bare).unwrap_err().kind(), ErrorKind::Unsupported, "a digest names its algorithm");
    let many = format!("{{\"layers\":[{}]}}", vec!["{\"digest\":\"\",\"size\":0}"; 16384].join(","));
    assert_eq!(read(&many).unwrap_err().kind(), ErrorKind::Limit);
}
