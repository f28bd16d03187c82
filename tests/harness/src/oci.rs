//! Artifacts of registries as OCI image layouts, written here byte by byte: what skopeo and Debian's docker-registry carry,
//! and what users of KubeVirt, tart, macOS-vz and ORAS have in theirs.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const TAR_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const TITLE: &str = "org.opencontainers.image.title";

/// "sha256:..." of bytes.
pub fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// A directory in the layout of the OCI image specification, with one image that skopeo calls "image".
pub struct Layout {
    directory: PathBuf,
}

impl Layout {
    /// An empty one.
    pub fn new(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory.join("blobs/sha256"))?;
        fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// As skopeo names it.
    pub fn source(&self) -> String {
        format!("oci:{}:image", self.directory.display())
    }

    /// Adds a blob; gives its descriptor.
    pub fn blob(&self, media_type: &str, bytes: &[u8]) -> Result<Value> {
        let digest = digest(bytes);
        let hex = digest.trim_start_matches("sha256:");
        fs::write(self.directory.join("blobs/sha256").join(hex), bytes)?;
        Ok(json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() }))
    }

    /// Adds a manifest; gives its descriptor.
    pub fn manifest(&self, config: &Value, layers: &[Value], annotations: &Value) -> Result<Value> {
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers, "annotations": annotations,
        });
        self.blob(MANIFEST, manifest.to_string().as_bytes())
    }

    /// Makes a manifest the image.
    pub fn finish(&self, manifest: &Value) -> Result<()> {
        let mut manifest = manifest.clone();
        manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "image" });
        let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
        Ok(fs::write(self.directory.join("index.json"), index.to_string())?)
    }

    /// An image of Linux for an architecture, of layers that are tars, the lowest first.
    pub fn container(&self, architecture: &str, tars: &[Vec<u8>]) -> Result<Value> {
        let layers = tars.iter().map(|tar| self.blob(TAR_GZIP, &gzip(tar)?)).collect::<Result<Vec<_>>>()?;
        let config = json!({
            "architecture": architecture, "os": "linux", "config": {},
            "rootfs": { "type": "layers", "diff_ids": tars.iter().map(|tar| digest(tar)).collect::<Vec<_>>() },
        });
        let config = self.blob(CONFIG, config.to_string().as_bytes())?;
        self.manifest(&config, &layers, &json!({}))
    }

    /// The same for several architectures, behind an index.
    pub fn index(&self, images: &[(&str, Value)]) -> Result<Value> {
        let manifests: Vec<Value> = images
            .iter()
            .map(|(architecture, manifest)| {
                let mut manifest = manifest.clone();
                manifest["platform"] = json!({ "os": "linux", "architecture": architecture });
                manifest
            })
            .collect();
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
        self.blob(INDEX, index.to_string().as_bytes())
    }

    /// A machine of tart: its disk in chunks of Apple's LZ4 framing, NVRAM and config.
    pub fn tart(&self, disk: &[u8], chunk: usize, nvram: &[u8]) -> Result<Value> {
        let config = json!({
            "version": 1, "os": "linux", "arch": "arm64", "cpuCount": 4, "memorySize": 4u64 << 30,
            "macAddress": "7a:00:00:00:00:01", "display": { "width": 1024, "height": 768 },
        });
        let word = |name: &str| format!("application/vnd.cirruslabs.tart.{name}");
        let mut layers = vec![self.blob(&word("config.v1"), config.to_string().as_bytes())?];
        for bytes in disk.chunks(chunk) {
            let mut layer = self.blob(&word("disk.v2"), &lz4_apple(bytes))?;
            layer["annotations"] = json!({
                "org.cirruslabs.tart.uncompressed-size": bytes.len().to_string(),
                "org.cirruslabs.tart.uncompressed-content-digest": digest(bytes),
            });
            layers.push(layer);
        }
        layers.push(self.blob(&word("nvram.v1"), nvram)?);
        let image = self.blob(CONFIG, br#"{"architecture":"arm64","os":"darwin"}"#)?;
        let size = json!({ "org.cirruslabs.tart.uncompressed-disk-size": disk.len().to_string() });
        self.manifest(&image, &layers, &size)
    }

    /// A machine of macOS-vz, its disk and auxiliary image compressed with gzip.
    pub fn macosvz(&self, disk: &[u8], aux: &[u8]) -> Result<Value> {
        let word = |name: &str| format!("application/vnd.agoda.macosvz.{name}");
        let storage = |kind: &str, file: &str| json!({ "mediatype": word(kind), "file": file });
        let config = json!({
            "mediatype": word("config.v1+json"), "os": "darwin", "hardwareModelData": "bW9kZWw=", "machineIdData": "aWQ=",
            "storage": [storage("disk.image.v1", "disk.img"), storage("aux.image.v1", "aux.img")],
        });
        let file = |kind: &str, title: &str, bytes: &[u8]| -> Result<Value> {
            let mut layer = self.blob(&word(kind), &gzip(bytes)?)?;
            layer["annotations"] = json!({
                TITLE: title,
                "com.agoda.macosvz.content.uncompressed-digest": digest(bytes),
                "com.agoda.macosvz.content.uncompressed-size": bytes.len().to_string(),
            });
            Ok(layer)
        };
        let mut description = self.blob(&word("config.v1+json"), config.to_string().as_bytes())?;
        description["annotations"] = json!({ TITLE: "config.json" });
        let layers =
            [file("disk.image.v1", "disk.img", disk)?, file("aux.image.v1", "aux.img", aux)?, description];
        let mut own = self.blob(CONFIG, b"{}")?;
        own["platform"] = json!({ "architecture": "arm64", "os": "darwin" });
        self.manifest(&own, &layers, &json!({}))
    }

    /// Files as ORAS keeps them, by their titles.
    pub fn oras(&self, files: &[(&str, &[u8])]) -> Result<Value> {
        let mut layers = Vec::new();
        for (title, bytes) in files {
            let mut layer = self.blob("application/octet-stream", bytes)?;
            layer["annotations"] = json!({ TITLE: title });
            layers.push(layer);
        }
        self.manifest(&self.blob(EMPTY, b"{}")?, &layers, &json!({}))
    }
}

/// A tar of files, as name and content; those of names that begin with ".wh." in a directory are empty marks.
pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (name, content) in files {
        let mut header = [0u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        let mut put = |at: usize, text: String| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(100, "0000444".to_owned());
        put(108, "0000153".to_owned());
        put(116, "0000153".to_owned());
        put(124, format!("{:011o}", content.len()));
        put(136, "00000000000".to_owned());
        put(148, " ".repeat(8));
        put(156, "0".to_owned());
        put(257, "ustar".to_owned());
        put(263, "00".to_owned());
        let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        tar.extend_from_slice(&header);
        tar.extend_from_slice(content);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

/// Compressed with gzip.
pub fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

/// Apple's framing of LZ4, blocks that do not shrink as they are.
fn lz4_apple(bytes: &[u8]) -> Vec<u8> {
    let mut framed = Vec::new();
    for block in bytes.chunks(64 << 10) {
        let packed = lz4_flex::block::compress(block);
        let size = (block.len() as u32).to_le_bytes();
        if packed.len() < block.len() {
            framed.extend([b"bv41", &size[..], &(packed.len() as u32).to_le_bytes(), &packed].concat());
        } else {
            framed.extend([b"bv4-", &size[..], block].concat());
        }
    }
    framed.extend_from_slice(b"bv4$");
    framed
}
