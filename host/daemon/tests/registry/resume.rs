//! A daemon that is killed in the middle of a download.

use std::process::Stdio;

use witvirt_harness::front::Front;

use crate::pulling::{content, disk, open_registry, plain, site, unfinished};

const MIB: usize = 1 << 20;

#[test]
fn a_killed_daemon_goes_on_with_what_was_not_there() {
    let (Some(registry), Some(site)) = (open_registry(), site("")) else { return };
    let (bytes, nvram) = (content(41, 48 * MIB), content(42, 4096));
    registry.push("vm/tart:1", &[], |layout| layout.tart(&bytes, 2 * MIB, &nvram)).unwrap();
    let front = Front::before(registry.host()).unwrap();
    site.append_config(&plain(front.host()));
    let source = format!("docker://{}/vm/tart:1", front.host());
    let arguments = ["image", "import", &source, "--name", "vm"];

    // All of it, for the number of bytes that it takes.
    let whole = {
        let other = crate::pulling::site(&plain(front.host())).unwrap();
        let _daemon = other.daemon();
        front.forget();
        other.run(&arguments);
        front.blob_bytes()
    };
    front.forget();
    let budget = whole * 2 / 3;
    front.set_budget(budget);
    let daemon = site.daemon();
    let child = site.command(&arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    front.wait_until_held().unwrap();
    daemon.signal("KILL");
    drop(daemon);
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success(), "the command lost its daemon");
    assert_eq!(unfinished(&site).len(), 1, "{:?}", unfinished(&site));

    let before = front.blob_bytes();
    front.set_budget(u64::MAX);
    let _daemon = site.daemon();
    assert_eq!(site.json(&["image", "ls"]), serde_json::json!([]), "half an image is none");
    site.run(&arguments);
    assert!(disk(&site, "vm") == bytes);
    let again = front.blob_bytes() - before;
    // Pieces that were on their way when it died are fetched again: four at once, of 2 MiB each, and small things.
    let most = whole - before + 4 * 2 * MIB as u64 + MIB as u64;
    assert!(again <= most, "{again} bytes after {before} of {whole}");
    assert!(again < whole * 3 / 4, "{again} of {whole} bytes again");
    assert!(unfinished(&site).is_empty(), "{:?}", unfinished(&site));
}
