//! Manifests of registries: what a plugin makes of them, before anything is fetched.

use sha2::{Digest, Sha256};
use witvirt_disk::ErrorKind::{self, Corrupt, Limit, Plugin, Unsupported};

use crate::case::{Case, Entry, What};

const DISK: &str = "application/vnd.cirruslabs.tart.disk.v2";
const CONFIG: &str = "application/vnd.cirruslabs.tart.config.v1";

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A layer of 100 bytes with annotations.
fn layer(media_type: &str, digest: &str, annotations: &str) -> String {
    format!(
        "{{\"mediaType\":\"{media_type}\",\"digest\":\"sha256:{digest}\",\"size\":100,\"annotations\":{{{annotations}}}}}"
    )
}

fn disk(size: &str) -> String {
    layer(DISK, &hex(size.as_bytes()), &format!("\"org.cirruslabs.tart.uncompressed-size\":\"{size}\""))
}

/// A manifest of a machine with this config, which lies beside it, and these layers.
fn machine(name: &str, config: &[u8], layers: &[String]) -> Case {
    let digest = hex(config);
    let first =
        format!("{{\"mediaType\":\"{CONFIG}\",\"digest\":\"sha256:{digest}\",\"size\":{}}}", config.len());
    let layers = [&[first][..], layers].concat();
    manifest(name, &layers).with(&digest, Entry::bytes(config))
}

fn manifest(name: &str, layers: &[String]) -> Case {
    let text = format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"config\":{{\"mediaType\":\
         \"application/vnd.oci.image.config.v1+json\",\"digest\":\"sha256:{}\",\"size\":2}},\"layers\":[{}]}}",
        hex(b"{}"),
        layers.join(",")
    );
    bare(name, text)
}

fn bare(name: &str, text: impl Into<Vec<u8>>) -> Case {
    let name = format!("manifest-{name}.json");
    let case = Case::of(&name, Entry::bytes(text.into())).import(What::Manifest(name));
    case.with(&hex(b"{}"), Entry::bytes(&b"{}"[..]))
}

pub fn cases() -> Vec<Case> {
    let config = br#"{"version":1,"os":"linux","arch":"arm64","cpuCount":2,"memorySize":1073741824}"#;
    let any: [ErrorKind; 5] = [Corrupt, Limit, Plugin, Unsupported, super::INVALID];
    let many: Vec<String> = (0..20_000).map(|index| disk(&format!("{}", 512 * (index + 1)))).collect();
    vec![
        bare("no-json", "{").refused(any, ""),
        bare("deep", format!("{{\"layers\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000)))
            .refused(any, ""),
        bare("null", "null").refused(any, ""),
        bare("nothing", "{\"schemaVersion\":2}").refused(any, ""),
        bare("32-mib", format!("{{\"x\":\"{}\"}}", "x".repeat(32 << 20))).refused(any, ""),
        manifest("layers-unknown", &[layer("application/x-what", &hex(b"x"), "")])
            .refused([Corrupt, Limit, Plugin, Unsupported, super::INVALID, super::MISSING], ""),
        machine("size-2-64", config, &[disk("18446744073709551615"), disk("18446744073709551614")])
            .corrupt("2^64"),
        machine("size-2-63", config, &[disk("9223372036854775807")]).refused([Limit, Plugin, Corrupt], ""),
        machine("size-negative", config, &[disk("-1")]).refused(any, ""),
        machine("size-0", config, &[disk("0")]).corrupt("says 0"),
        machine("digest-path", config, &[layer(DISK, "../../etc/passwd", "")]).refused(any, ""),
        machine("layers-20000", config, &many).refused([Limit, Plugin, Unsupported, Corrupt], ""),
        machine("config-no-json", b"\xff\xfe", &[disk("4096")]).refused(any, ""),
        machine("config-deep", "[".repeat(100_000).as_bytes(), &[disk("4096")]).refused(any, ""),
        machine("config-2-mib", &vec![b' '; 2 << 20], &[disk("4096")])
            .refused([Limit, Plugin, Corrupt, Unsupported], ""),
    ]
}
