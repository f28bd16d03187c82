//! Any text as manifest, small blobs and the member that a user names, separated by zero bytes.

use witvirt_disk::artifact::{check_plan, descriptors};
use witvirt_disk::{ErrorKind, Limits};
use witvirt_sdk::artifact::{Manifest, ReadOptions, Reader};

/// What must hold: nothing panics, a plugin asks only for blobs of the manifest, and what the host refuses of a plan is the
/// manifest's fault and never the plugin's.
pub fn run<R: Reader>(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut parts = text.split('\0');
    let manifest = Manifest { media_type: String::new(), text: parts.next().unwrap_or_default().to_owned() };
    let content = parts.next().unwrap_or_default().as_bytes();
    let member = parts.next().map(str::to_owned);
    if let Some(claim) = R::probe(&manifest) {
        assert!((1..=100).contains(&claim.confidence) && R::layouts().contains(&claim.layout));
    }
    let options = ReadOptions { layout: R::layouts()[0].clone(), member };
    let Ok(needs) = R::needs(&manifest, &options) else { return };
    let Ok(blobs) = descriptors(&manifest) else { return };
    assert!(needs.len() <= 16);
    assert!(needs.iter().all(|digest| blobs.iter().any(|blob| blob.digest == *digest)));
    let small: Vec<_> = needs.into_iter().map(|digest| (digest, content.to_vec())).collect();
    let Ok(plan) = R::interpret(&manifest, &small, &options) else { return };
    assert!(plan.facts.len() <= 64);
    if let Err(error) = check_plan(plan, &blobs, &Limits::default()) {
        assert!([ErrorKind::Corrupt, ErrorKind::Limit].contains(&error.kind()), "{error}");
    }
}

/// Sound artifacts of the layout, and what a user may name in each.
pub fn seeds(layout: &str) -> Vec<Vec<u8>> {
    let digest = |byte: &str| format!("sha256:{}", byte.repeat(32));
    let blob = |media: &str, number: &str, annotations: &str| {
        format!(
            "{{\"mediaType\":\"{media}\",\"digest\":\"{}\",\"size\":100,\"annotations\":{{{annotations}}}}}",
            digest(number)
        )
    };
    let manifest = |config: &str, layers: &[String], annotations: &str| {
        let config = blob(config, "c0", "");
        let layers = layers.join(",");
        format!("{{\"config\":{config},\"layers\":[{layers}],\"annotations\":{{{annotations}}}}}")
    };
    let title = |name: &str| format!("\"org.opencontainers.image.title\":\"{name}\"");
    let image = "application/vnd.oci.image.config.v1+json";
    let texts = match layout {
        "containerdisk" => {
            let tar = "application/vnd.oci.image.layer.v1.tar";
            let layers = [blob(tar, "01", ""), blob(&format!("{tar}+gzip"), "02", "")];
            let config = "{\"os\":\"linux\",\"architecture\":\"arm64\",\"config\":{\"Env\":[\"INSTANCETYPE_KUBEVIRT_IO_DEFAULT_PREFERENCE=a\"],\
                          \"Labels\":{\"kubevirt.io/os\":\"fedora\"}}}";
            vec![format!("{}\0{config}\0/disk/a.img", manifest(image, &layers, ""))]
        }
        "macosvz" => {
            let own = |kind: &str| format!("application/vnd.agoda.macosvz.{kind}");
            let unpacked = format!(
                "\"com.agoda.macosvz.content.uncompressed-digest\":\"{}\",\"com.agoda.macosvz.content.uncompressed-size\":\"4096\",{}",
                digest("0a"),
                title("disk.img")
            );
            let layers = [
                blob(&own("disk.image.v1"), "01", &unpacked),
                blob(&own("aux.image.v1"), "02", &title("aux.img")),
                blob(&own("config.v1+json"), "03", &title("config.json")),
            ];
            let config = format!(
                "{{\"mediatype\":\"{}\",\"os\":\"darwin\",\"hardwareModelData\":\"YQ==\",\"machineIdData\":\"YQ==\",\"storage\":[]}}",
                own("config.v1+json")
            );
            vec![format!("{}\0{config}", manifest("application/vnd.oci.empty.v1+json", &layers, ""))]
        }
        "tart" => {
            let own = |kind: &str| format!("application/vnd.cirruslabs.tart.{kind}");
            let chunk = |size: u64| {
                format!(
                    "\"org.cirruslabs.tart.uncompressed-size\":\"{size}\",\"org.cirruslabs.tart.uncompressed-content-digest\":\"{}\"",
                    digest("0b")
                )
            };
            let config = "{\"version\":1,\"os\":\"darwin\",\"arch\":\"arm64\",\"cpuCount\":4,\"memorySize\":4294967296,\"ecid\":\"YQ==\",\
                          \"display\":{\"width\":1024,\"height\":768},\"config\":{\"Labels\":{\"org.cirruslabs.tart.disk.format\":\"raw\"}}}";
            let rest = [blob(&own("config.v1"), "01", ""), blob(&own("nvram.v1"), "02", "")];
            let second = [blob(&own("disk.v2"), "03", &chunk(512)), blob(&own("disk.v2"), "04", &chunk(100))];
            let first = [blob(&own("disk.v1"), "03", ""), blob(&own("disk.v1"), "04", "")];
            let of = |disk: &[String]| {
                let layers: Vec<String> = rest.iter().chain(disk).cloned().collect();
                let size = "\"org.cirruslabs.tart.uncompressed-disk-size\":\"612\"";
                format!("{}\0{config}", manifest(image, &layers, size))
            };
            vec![of(&second), of(&first)]
        }
        _ => {
            let unpack = format!("{},\"io.deis.oras.content.unpack\":\"true\"", title("disks"));
            let layers = [
                blob("application/octet-stream", "01", &title("a.qcow2.xz")),
                blob("text/plain", "02", &title("README")),
                blob("application/vnd.oci.image.layer.v1.tar+gzip", "03", &unpack),
            ];
            let of = |member: &str| {
                format!("{}\0\0{member}", manifest("application/vnd.oci.empty.v1+json", &layers, ""))
            };
            vec![of("a.qcow2.xz"), of("disks/b.img"), of("disks"), manifest("x/y", &layers[..1], "")]
        }
    };
    texts.into_iter().map(String::into_bytes).collect()
}
