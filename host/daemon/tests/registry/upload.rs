//! Images that are sent: by the command line from standard input, and by the API.

use std::fs::File;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use crate::pulling::{content, disk, sha256, site, unfinished};
use crate::support::{PATIENCE, Site, error, wait_for};

const MIB: usize = 1 << 20;

/// Sends a request's head and body, and reads the answer. Of a body that ends before its length, or without its last chunk,
/// the connection is ended in the middle.
fn send(site: &Site, query: &str, length: Option<usize>, body: &[u8]) -> String {
    let whole = length == Some(body.len());
    let mut stream = UnixStream::connect(site.socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (framing, body) = match length {
        Some(length) => (format!("Content-Length: {length}"), body.to_vec()),
        None => {
            let chunk = [format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n"].concat();
            ("Transfer-Encoding: chunked".to_owned(), chunk)
        }
    };
    let head = format!(
        "PUT /v1/images?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/octet-stream\r\n{framing}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    // The daemon may refuse before it has read everything.
    let _ = stream.write_all(&body);
    if !whole {
        stream.shutdown(Shutdown::Write).unwrap();
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// The store has no image, and nothing half done. What was cut may be noticed a moment later.
fn assert_nothing_left(site: &Site, what: &str) {
    wait_for(what, || unfinished(site).is_empty().then_some(()));
    assert_eq!(site.json(&["image", "ls"]), serde_json::json!([]), "{what}");
}

#[test]
fn uploads_that_are_not_what_was_promised_leave_nothing() {
    let Some(site) = site("") else { return };
    let _daemon = site.daemon();
    let bytes = content(31, 3 * MIB);
    let wrong = sha256(b"something else");
    let query = "name=sent&format=raw";

    let answer =
        send(&site, &format!("{query}&checksum={}", wrong.replace(':', "%3A")), Some(bytes.len()), &bytes);
    assert!(answer.contains(&wrong) && answer.contains(&sha256(&bytes)), "wrong digest: {answer}");
    assert_nothing_left(&site, "a wrong digest");
    // Cut in the middle: the connection ends before what was promised, with and without a length.
    let _ = send(&site, query, Some(2 * bytes.len()), &bytes);
    assert_nothing_left(&site, "shorter than its length");
    let _ = send(&site, query, None, &bytes);
    assert_nothing_left(&site, "cut between chunks");
    let answer = send(&site, "name=sent&format=qcow2", Some(bytes.len()), &bytes);
    assert!(answer.contains("qcow2"), "another format: {answer}");
    assert_nothing_left(&site, "another format");
    let answer = send(&site, "name=sent&format=raw&colour=red", Some(3), b"abc");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let answer = send(&site, "name=sent&format=raw&checksum=sha256%3Axyz", Some(3), b"abc");
    assert!(answer.contains("checksum") || answer.contains("sha256"), "{answer}");
    assert_nothing_left(&site, "a checksum that is none");

    // A connection that says how much is to come, and then goes away.
    let mut stream = UnixStream::connect(site.socket()).unwrap();
    let head = format!(
        "PUT /v1/images?{query} HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
        bytes.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&bytes[..MIB]).unwrap();
    wait_for("the upload to begin", || (!unfinished(&site).is_empty()).then_some(()));
    drop(stream);
    assert_nothing_left(&site, "a sender that went away");

    let answer = send(
        &site,
        &format!("{query}&checksum={}", sha256(&bytes).replace(':', "%3A")),
        Some(bytes.len()),
        &bytes,
    );
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"sent\""), "{answer}");
    assert!(disk(&site, "sent") == bytes);
}

#[test]
fn standard_input_is_uploaded_and_compared() {
    let Some(site) = site("") else { return };
    let _daemon = site.daemon();
    let bytes = content(32, 2 * MIB);
    let file = site.path("input");
    std::fs::write(&file, &bytes).unwrap();
    let from = |input: Stdio, more: &[&str]| {
        let arguments = [&["image", "import", "-", "--name", "piped", "--format", "raw"][..], more].concat();
        site.command(&arguments).stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let wrong = sha256(b"x");
    let output = from(File::open(&file).unwrap().into(), &["--checksum", &wrong]).wait_with_output().unwrap();
    assert!(!output.status.success() && error(&output).contains(&wrong), "{}", error(&output));
    assert_nothing_left(&site, "a wrong checksum");

    // The command is killed while it sends: what comes through a pipe has no length that would tell.
    let mut child = from(Stdio::piped(), &[]);
    let mut input = child.stdin.take().unwrap();
    input.write_all(&bytes[..MIB]).unwrap();
    wait_for("the upload to begin", || (!unfinished(&site).is_empty()).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    drop(input);
    assert_nothing_left(&site, "a command that was killed");

    let good = sha256(&bytes);
    let output = from(File::open(&file).unwrap().into(), &["--checksum", &good]).wait_with_output().unwrap();
    assert!(output.status.success(), "{}", error(&output));
    assert!(disk(&site, "piped") == bytes);
}
