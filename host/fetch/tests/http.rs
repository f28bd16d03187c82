//! HTTP sources against servers that misbehave.

mod support;

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use support::{Certificates, Server, answer, closed_port, content, fetch, good, hasty, head, kind, read_all};
use witvirt_disk::{Blob, ErrorKind};
use witvirt_fetch::{Authorities, Fetch, HttpAccess, Login, Proxy, Secret};

const TAG: &str = "ETag: \"one\"";

fn open(server: &Server) -> Arc<dyn Blob> {
    fetch().http(&server.url("/image"), &HttpAccess::default()).unwrap()
}

fn refused(server: &Server, path: &str) -> witvirt_disk::Error {
    fetch().http(&server.url(path), &HttpAccess::default()).unwrap_err()
}

#[test]
fn a_good_server() {
    let bytes = content(300_000);
    let served = bytes.clone();
    let server = Server::new(move |_, request, wire| good(request, wire, &served, &[TAG]));
    let blob = open(&server);
    assert_eq!((blob.size(), blob.ranges(), blob.digest()), (Some(300_000), true, None));
    assert_eq!(blob.version(), Some("etag:\"one\""));
    assert_eq!(blob.label(), server.url("/image"));
    assert!(read_all(&*blob, 0).unwrap() == bytes);
    assert!(read_all(&*blob, 299_000).unwrap() == bytes[299_000..]);
    assert_eq!(read_all(&*blob, 300_000).unwrap(), b"");
    let mut buffer = vec![0; 1000];
    assert_eq!(blob.read(5, &mut buffer).unwrap(), 1000);
    assert_eq!(buffer, bytes[5..1005]);
    assert_eq!(blob.read(299_990, &mut buffer).unwrap(), 10);
    assert_eq!(buffer[..10], bytes[299_990..]);
    assert_eq!(blob.read(300_000, &mut buffer).unwrap(), 0);
    assert_eq!(blob.read(u64::MAX, &mut buffer).unwrap(), 0);
    for request in server.requests() {
        assert_eq!(request.header("accept-encoding"), Some("identity"));
        let parts = request.range().is_some_and(|(first, _)| first > 0);
        assert_eq!(request.header("if-range").is_some(), parts);
    }
}

#[test]
fn nothing_is_an_object_too() {
    let server = Server::new(|_, request, wire| good(request, wire, b"", &[]));
    let blob = open(&server);
    assert_eq!(blob.size(), Some(0));
    assert_eq!(read_all(&*blob, 0).unwrap(), b"");
    assert_eq!(blob.read(0, &mut [0; 4]).unwrap(), 0);
}

#[test]
fn a_server_without_ranges() {
    let server = Server::new(|_, _, wire| answer(wire, "200 OK", &["Accept-Ranges: bytes"], &content(5000)));
    let blob = open(&server);
    assert_eq!((blob.size(), blob.ranges(), blob.version()), (Some(5000), false, None));
    assert!(read_all(&*blob, 0).unwrap() == content(5000));
    assert_eq!(blob.read(0, &mut [0; 4]).unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(blob.stream(1).err().unwrap().kind(), ErrorKind::Unsupported);
}

#[test]
fn a_body_whose_length_nobody_knows() {
    let server = Server::new(|_, _, wire| {
        let text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        wire.write_all(text.as_bytes()).is_ok()
    });
    let blob = open(&server);
    assert_eq!((blob.size(), blob.ranges()), (None, false));
    assert_eq!(read_all(&*blob, 0).unwrap(), b"abcde");
}

#[test]
fn cuts_are_taken_up_again() {
    let bytes = content(100_000);
    let served = bytes.clone();
    let server = Server::new(move |number, request, wire| {
        let Some((first, last)) = request.range().filter(|range| *range != (0, 0)) else {
            if number == 0 {
                return good(request, wire, &served, &[TAG]);
            }
            head(wire, "200 OK", &[TAG], served.len());
            let _ = wire.write_all(&served[..40_000]);
            return false;
        };
        if first == 40_000 {
            let range = format!("Content-Range: bytes {first}-{last}/{}", served.len());
            head(wire, "206 Partial Content", &[&range, TAG], last - first + 1);
            let _ = wire.write_all(&served[first..80_000]);
            return false;
        }
        good(request, wire, &served, &[TAG])
    });
    assert!(read_all(&*open(&server), 0).unwrap() == bytes);
    let firsts: Vec<_> =
        server.requests().iter().map(|request| request.range().map(|range| range.0)).collect();
    assert_eq!(firsts, [Some(0), None, Some(40_000), Some(80_000)]);
}

#[test]
fn a_cut_without_ranges_is_told() {
    let server = Server::new(|_, _, wire| {
        head(wire, "200 OK", &[], 1000);
        let _ = wire.write_all(&[1; 500]);
        false
    });
    let blob = open(&server);
    let error = read_all(&*blob, 0).unwrap_err();
    assert!(error.to_string().contains("500 bytes"), "{error}");
    assert_eq!(kind(error), ErrorKind::Unavailable);
}

#[test]
fn stalls_end() {
    for slow in [false, true] {
        let server = Server::new(move |number, request, wire| {
            if number == 0 {
                return good(request, wire, &content(10_000), &[TAG]);
            }
            let (first, _) = request.range().unwrap_or((0, 9999));
            let range = format!("Content-Range: bytes {first}-9999/10000");
            let status = if first == 0 { "200 OK" } else { "206 Partial Content" };
            head(wire, status, &[&range, TAG], 10_000 - first);
            for byte in &content(10_000)[first..] {
                std::thread::sleep(Duration::from_millis(if slow { 100 } else { 2000 }));
                if wire.write_all(&[*byte]).and_then(|()| wire.flush()).is_err() {
                    break;
                }
            }
            false
        });
        let mut config = hasty();
        config.http.attempts = 2;
        config.http.slowest_rate = witvirt_core::ByteSize(100);
        let start = Instant::now();
        let blob = Fetch::new(&config).unwrap().http(&server.url("/"), &HttpAccess::default()).unwrap();
        let error = read_all(&*blob, 0).unwrap_err();
        assert_eq!(kind(error), ErrorKind::Unavailable, "slow: {slow}");
        assert!(start.elapsed() < Duration::from_secs(5), "slow: {slow}: {:?}", start.elapsed());
    }
    let silent = Server::new(|_, _, _| {
        std::thread::sleep(Duration::from_secs(20));
        false
    });
    let mut config = hasty();
    config.http.attempts = 1;
    config.http.connect_timeout = witvirt_core::Span(Duration::from_millis(300));
    let start = Instant::now();
    let error = Fetch::new(&config).unwrap().http(&silent.url("/"), &HttpAccess::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(start.elapsed() < Duration::from_secs(4));
}

/// What a lying server answers to everything but the probe, and how that ends.
fn lie(headers: &'static [&'static str], status: &'static str, body: usize) -> ErrorKind {
    let server = Server::new(move |number, request, wire| {
        if number == 0 {
            return good(request, wire, &content(10_000), &[TAG]);
        }
        answer(wire, status, headers, &content(body))
    });
    let mut buffer = [0; 100];
    open(&server).read(1000, &mut buffer).unwrap_err().kind()
}

#[test]
fn lies_about_ranges_are_noticed() {
    let partial = "206 Partial Content";
    assert_eq!(lie(&["Content-Range: bytes 1000-1099/9000", TAG], partial, 100), ErrorKind::Changed);
    assert_eq!(lie(&["Content-Range: bytes 0-99/10000", TAG], partial, 100), ErrorKind::Corrupt);
    assert_eq!(lie(&["Content-Range: bytes 1000-1999/10000", TAG], partial, 1000), ErrorKind::Corrupt);
    assert_eq!(lie(&["Content-Range: bytes 1000-1099/10000", TAG], partial, 1000), ErrorKind::Corrupt);
    assert_eq!(lie(&[TAG], partial, 100), ErrorKind::Corrupt);
    assert_eq!(
        lie(&["Content-Range: bytes 1000-1099/10000", "ETag: \"two\""], partial, 100),
        ErrorKind::Changed
    );
    assert_eq!(lie(&["ETag: \"two\""], "200 OK", 10_000), ErrorKind::Changed);
    assert_eq!(lie(&[], "200 OK", 10_000), ErrorKind::Changed);
    assert_eq!(lie(&["Content-Range: bytes */10"], "416 Range Not Satisfiable", 0), ErrorKind::Changed);
    // The same object, and now no ranges: that may pass.
    assert_eq!(lie(&[TAG], "200 OK", 10_000), ErrorKind::Unavailable);
}

#[test]
fn chunks_that_go_on_are_noticed() {
    let server = Server::new(|number, request, wire| {
        if number == 0 {
            return good(request, wire, &content(10), &[TAG]);
        }
        let text = format!(
            "HTTP/1.1 200 OK\r\n{TAG}\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n1\r\nx\r\n0\r\n\r\n"
        );
        wire.write_all(text.as_bytes()).is_ok()
    });
    assert_eq!(kind(read_all(&*open(&server), 0).unwrap_err()), ErrorKind::Corrupt);
}

#[test]
fn short_parts_are_put_together() {
    let server = Server::new(|_, request, wire| {
        let mut request = request.clone();
        if let Some((first, last)) = request.range() {
            request = request.with_range(first, last.min(first + 99));
        }
        good(&request, wire, &content(1000), &[TAG])
    });
    let mut buffer = [0; 450];
    assert_eq!(open(&server).read(500, &mut buffer).unwrap(), 450);
    assert_eq!(buffer[..], content(1000)[500..950]);
}

#[test]
fn a_change_in_the_middle_is_noticed() {
    let server = Server::new(|number, request, wire| match number {
        0 => good(request, wire, &content(100_000), &[TAG]),
        1 => {
            head(wire, "200 OK", &[TAG], 100_000);
            let _ = wire.write_all(&content(50_000));
            false
        }
        // If-Range does not hold any more.
        _ => answer(wire, "200 OK", &["ETag: \"two\""], &content(100_000)),
    });
    assert_eq!(kind(read_all(&*open(&server), 0).unwrap_err()), ErrorKind::Changed);
    assert_eq!(server.requests()[2].header("if-range"), Some("\"one\""));
}

#[test]
fn redirects_are_followed_and_remembered() {
    let target = Server::new(|_, request, wire| good(request, wire, &content(1000), &[TAG]));
    let to = format!("Location: {}", target.url("/there?signature=hunter2"));
    let server = Server::new(move |_, request, wire| match request.path.as_str() {
        "/image" => answer(wire, "302 Found", &["Location: next"], b"moved"),
        "/next" => answer(wire, "307 Temporary Redirect", &[&to], b"moved"),
        _ => false,
    });
    let login = Login::Basic { user: "joe".into(), password: Secret::new("hunter2") };
    let access = HttpAccess::default().with_login(login).with_header("X-Token", &Secret::new("t")).unwrap();
    let blob = fetch().http(&server.url("/image"), &access).unwrap();
    assert!(read_all(&*blob, 0).unwrap() == content(1000));
    // To the origin alone, and only once: the second request went to where the first had ended.
    assert_eq!(server.requests().len(), 2);
    assert!(server.requests().iter().all(|request| request.header("authorization").is_some()));
    assert!(server.requests().iter().all(|request| request.header("x-token") == Some("t")));
    assert_eq!(target.requests().len(), 2);
    for request in target.requests() {
        assert_eq!((request.header("authorization"), request.header("x-token")), (None, None));
    }
    assert!(!format!("{blob:?}{}", blob.label()).contains("hunter2"));
}

#[test]
fn an_expired_redirect_is_asked_for_anew() {
    let target = Server::new(|number, request, wire| match number {
        1 => answer(wire, "403 Forbidden", &[], b"expired"),
        _ => good(request, wire, &content(1000), &[TAG]),
    });
    let to = format!("Location: {}", target.url("/there"));
    let server = Server::new(move |_, _, wire| answer(wire, "302 Found", &[&to], b""));
    assert!(read_all(&*open(&server), 0).unwrap() == content(1000));
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn redirects_are_bounded_and_stay_within_http() {
    let server = Server::new(|_, request, wire| match request.path.as_str() {
        "/loop" => answer(wire, "302 Found", &["Location: /loop"], b""),
        "/file" => answer(wire, "302 Found", &["Location: file:///etc/passwd"], b""),
        "/none" => answer(wire, "302 Found", &[], b""),
        _ => false,
    });
    assert_eq!(refused(&server, "/loop").kind(), ErrorKind::Limit);
    assert_eq!(server.requests().len(), 11);
    assert_eq!(refused(&server, "/file").kind(), ErrorKind::Denied);
    assert_eq!(refused(&server, "/none").kind(), ErrorKind::Corrupt);
}

#[test]
fn statuses_become_kinds() {
    let server = Server::new(|_, request, wire| {
        let status = format!("{} Whatever", &request.path[1..]);
        answer(wire, &status, &[], b"hunter2")
    });
    for (path, kind) in [
        ("/401", ErrorKind::Denied),
        ("/403", ErrorKind::Denied),
        ("/404", ErrorKind::NotFound),
        ("/410", ErrorKind::NotFound),
        ("/418", ErrorKind::Unsupported),
        ("/503", ErrorKind::Unavailable),
    ] {
        let error = refused(&server, path);
        assert_eq!(error.kind(), kind, "{path}: {error}");
        assert!(error.to_string().starts_with(&server.url(path)), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    let tries = server.requests().iter().filter(|request| request.path == "/503").count();
    assert_eq!(tries, 3);
}

#[test]
fn a_server_says_when_to_come_back() {
    for (pause, patient) in [("1", true), ("3600", false)] {
        let header = format!("Retry-After: {pause}");
        let server = Server::new(move |number, request, wire| match number {
            0 => answer(wire, "429 Too Many Requests", &[&header], b""),
            _ => good(request, wire, &content(10), &[]),
        });
        let start = Instant::now();
        let opened = fetch().http(&server.url("/"), &HttpAccess::default());
        assert_eq!(opened.is_ok(), patient);
        let waited = start.elapsed();
        assert!(
            (waited >= Duration::from_secs(1)) == patient && waited < Duration::from_secs(5),
            "{waited:?}"
        );
    }
}

#[test]
fn nobody_there() {
    let url = format!("http://127.0.0.1:{}/", closed_port());
    let error = fetch().http(&url, &HttpAccess::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("tried 3 times"), "{error}");
}

#[test]
fn urls_that_are_none() {
    for url in ["", "image", "file:///etc/passwd", "ftp://host/x", "http://", "https://ex\u{e4}mple/"] {
        let error = fetch().http(url, &HttpAccess::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{url}: {error}");
    }
    let mut config = hasty();
    config.http.plain_http = false;
    let error = Fetch::new(&config).unwrap().http("http://127.0.0.1/", &HttpAccess::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
}

#[test]
fn a_login_in_the_url_is_used_and_not_shown() {
    let server = Server::new(|_, request, wire| good(request, wire, b"x", &[]));
    let url = format!("http://joe:hunte%722@127.0.0.1:{}/", server.port);
    let blob = fetch().http(&url, &HttpAccess::default()).unwrap();
    assert_eq!(server.requests()[0].header("authorization"), Some("Basic am9lOmh1bnRlcjI="));
    assert!(!blob.label().contains("joe"));
}

#[test]
fn private_authorities() {
    let certificates = Certificates::new();
    let plain = Server::new(|_, request, wire| good(request, wire, b"plain", &[]));
    let to = format!("Location: {}", plain.url("/"));
    let server =
        Server::secure(certificates.server_config(), move |_, request, wire| match request.path.as_str() {
            "/down" => answer(wire, "302 Found", &[&to], b""),
            _ => good(request, wire, &content(100_000), &[]),
        });
    let url = |path: &str| format!("https://localhost:{}{path}", server.port);
    let error = fetch().http(&url("/"), &HttpAccess::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(error.to_string().contains("ca-file"), "{error}");

    let own = HttpAccess::default()
        .with_authorities(Authorities::from_pem(certificates.authority.as_bytes()).unwrap());
    let blob = fetch().http(&url("/"), &own).unwrap();
    assert!(read_all(&*blob, 0).unwrap() == content(100_000));

    let dir = tempfile::tempdir().unwrap();
    let mut config = hasty();
    config.http.ca_file = Some(dir.path().join("ca.pem"));
    assert!(Fetch::new(&config).is_err());
    std::fs::write(dir.path().join("ca.pem"), "no certificate").unwrap();
    assert_eq!(Fetch::new(&config).unwrap_err().kind(), ErrorKind::InvalidInput);
    std::fs::write(dir.path().join("ca.pem"), &certificates.authority).unwrap();
    let trusting = Fetch::new(&config).unwrap();
    assert!(trusting.http(&url("/"), &HttpAccess::default()).is_ok());

    let error = trusting.http(&url("/down"), &HttpAccess::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(plain.requests().is_empty());
    config.http.insecure_redirects = true;
    let blob = Fetch::new(&config).unwrap().http(&url("/down"), &HttpAccess::default()).unwrap();
    assert_eq!(read_all(&*blob, 0).unwrap(), b"plain");
}

#[test]
fn through_a_proxy() {
    let certificates = Certificates::new();
    let server =
        Server::secure(certificates.server_config(), |_, request, wire| good(request, wire, b"behind", &[]));
    let proxied = Arc::new(AtomicUsize::new(0));
    let count = proxied.clone();
    let proxy = Server::new(move |_, request, wire| {
        assert_eq!(request.header("proxy-authorization"), Some("Basic cDpzZWNyZXQ="));
        if request.path.starts_with("http://plain.example/") {
            return good(request, wire, b"whole URL", &[]);
        }
        count.fetch_add(1, Ordering::SeqCst);
        // A tunnel is refused: that it was asked for is enough.
        let asked = request.method == "CONNECT" && request.path.starts_with("localhost:");
        answer(wire, if asked { "403 Forbidden" } else { "500 Wrong" }, &[], b"")
    });
    let mut config = hasty();
    config.http.attempts = 1;
    let url = format!("http://p:secret@127.0.0.1:{}", proxy.port);
    config.http.proxy = Proxy::Url(url.parse().unwrap());
    config.http.no_proxy = vec!["127.0.0.1".to_owned()];
    let fetch = Fetch::new(&config).unwrap();
    let blob = fetch.http("http://plain.example/x", &HttpAccess::default()).unwrap();
    assert_eq!(read_all(&*blob, 0).unwrap(), b"whole URL");
    let error =
        fetch.http(&format!("https://localhost:{}/", server.port), &HttpAccess::default()).unwrap_err();
    assert!(!error.to_string().contains("secret"), "{error}");
    assert_eq!(proxied.load(Ordering::SeqCst), 1);
    let direct = Server::new(|_, request, wire| good(request, wire, b"direct", &[]));
    let blob = fetch.http(&direct.url("/"), &HttpAccess::default()).unwrap();
    assert_eq!(read_all(&*blob, 0).unwrap(), b"direct");
}

#[test]
fn readers_do_not_disturb_one_another() {
    let bytes = content(2 << 20);
    let served = bytes.clone();
    let server = Server::new(move |_, request, wire| good(request, wire, &served, &[TAG]));
    let blob = open(&server);
    std::thread::scope(|scope| {
        for start in (0..2 << 20).step_by(256 << 10) {
            let (blob, bytes) = (&blob, &bytes);
            scope.spawn(move || {
                let mut buffer = vec![0; 256 << 10];
                assert_eq!(blob.read(start as u64, &mut buffer).unwrap(), 256 << 10);
                assert_eq!(buffer, bytes[start..start + (256 << 10)]);
            });
        }
    });
    let mut some = vec![0; 1000];
    blob.stream(0).unwrap().read_exact(&mut some).unwrap();
    assert_eq!(some, bytes[..1000]);
}
