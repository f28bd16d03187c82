//! The NBD clients of others.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use witvirt_disk::LazyImage;
use witvirt_disk::nbd::{Export, NbdServer};

use crate::formats::qemu_img;
use crate::support::{NEVER, Place, Server, content, request, resume, until};

/// Runs a client of the protocol; `None` where it is not installed.
fn client(program: &str, arguments: &[&str]) -> Option<String> {
    let output = match Command::new(program).args(arguments).stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(_) => {
            println!("skipped: {program} is not installed (Debian: apt install libnbd-bin qemu-utils)");
            return None;
        }
    };
    let shown = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {shown}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn socket(place: &Place, image: &Arc<LazyImage>) -> (NbdServer, String) {
    let path = place.dir.path().join("s");
    let server = NbdServer::start(UnixListener::bind(&path).unwrap(), Arc::clone(image) as Arc<dyn Export>);
    (server.unwrap(), path.to_str().unwrap().to_owned())
}

fn same(file: &Path, bytes: &[u8]) {
    assert!(fs::read(file).unwrap() == bytes, "{} differs", file.display());
}

#[test]
fn the_clients_of_others_read_the_same_disk() {
    if !qemu_img() {
        return;
    }
    let place = Place::new();
    let mut bytes = content(8, 20 << 20);
    bytes[3 << 20..9 << 20].fill(0);
    let server = Server::new(place.qcow2(&bytes, &["-c"]));
    let image = place.image(&server, &request(), NEVER);
    let (_nbd, path) = socket(&place, &image);
    let uri = format!("nbd+unix:///disk?socket={path}");
    let out = place.path("out.raw").to_str().unwrap().to_owned();
    client("qemu-img", &["convert", "-f", "raw", "-O", "raw", &uri, &out]);
    same(&place.path("out.raw"), &bytes);
    let raw = place.path("source.raw").to_str().unwrap().to_owned();
    client("qemu-img", &["compare", "-f", "raw", "-F", "raw", &uri, &raw]);
    if let Some(map) = client("qemu-img", &["map", "-f", "raw", "--output=json", &uri]) {
        assert!(map.contains("\"zero\": true") && map.contains("\"zero\": false"), "{map}");
    }
    if let Some(info) = client("nbdinfo", &["--json", &uri]) {
        assert!(info.contains(&format!("\"export-size\": {}", bytes.len())), "{info}");
        assert!(info.contains("\"is_read_only\": true") && info.contains("base:allocation"), "{info}");
        assert!(client("nbdinfo", &["--list", &uri]).unwrap().contains("export=\"disk\""));
        let totals = client("nbdinfo", &["--map", "--totals", &uri]).unwrap();
        assert!(totals.contains("hole,zero") && totals.contains("data"), "{totals}");
    }
    fs::remove_file(&out).unwrap();
    if client("nbdcopy", &["--requests=64", &uri, &out]).is_some() {
        same(&place.path("out.raw"), &bytes);
    }
}

#[test]
fn a_client_with_a_reconnect_delay_survives_its_server() {
    if !qemu_img() {
        return;
    }
    let place = Place::new();
    let bytes = content(9, 12 << 20);
    let server = Server::new(place.qcow2(&bytes, &["-c"]));
    server.budget.store(4 << 20, Ordering::SeqCst);
    let image = place.image(&server, &request(), NEVER);
    let (nbd, path) = socket(&place, &image);
    let out = place.path("out.raw");
    let options = format!(
        "driver=raw,file.driver=nbd,file.export=disk,file.reconnect-delay=600,file.server.type=unix,file.server.path={path}"
    );
    let mut copy = Command::new("qemu-img")
        .args(["convert", "--image-opts", "-O", "raw", &options])
        .arg(&out)
        .spawn()
        .unwrap();
    until("the server to go down", || image.status().waiting.is_some());
    let id = image.id().to_owned();
    // The process that serves is gone, and another one comes later.
    drop((nbd, image));
    fs::remove_file(&path).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(copy.try_wait().unwrap().is_none(), "the client gave up");
    server.budget.store(u64::MAX, Ordering::SeqCst);
    server.up(true);
    let image = resume(&place, &server, NEVER, &id);
    let (_nbd, _) = socket(&place, &image);
    assert!(copy.wait().unwrap().success());
    same(&out, &bytes);
}
