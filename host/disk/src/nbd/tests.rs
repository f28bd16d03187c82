use std::io::{self, Cursor, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::negotiate::{Agreed, negotiate};
use super::protocol::{
    ALLOCATION, ContextQuery, InfoQuery, MAX_PAYLOAD, OPTION_MAGIC, OptionHeader, REQUEST_MAGIC, Request,
    command, errno, option, reply,
};
use super::transmit::{Budget, transmit};
use super::{Export, NbdServer};
use crate::error::{Error, ErrorKind, Result};

const SIZE: u64 = 3 << 20;

/// Byte n is n modulo 251; the last quarter is a hole. Reads at the first byte wait for `open`.
#[derive(Default)]
struct Pattern {
    open: AtomicBool,
}

impl Export for Pattern {
    fn size(&self) -> u64 {
        SIZE
    }

    fn read(&self, buffer: &mut [u8], offset: u64, gone: &dyn Fn() -> bool) -> Result<()> {
        while offset == 0 && !self.open.load(Ordering::SeqCst) {
            if gone() {
                return Err(Error::new(ErrorKind::Cancelled, "gone"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(offset + buffer.len() as u64 <= SIZE, "the server lets this through: {offset}");
        for (byte, at) in buffer.iter_mut().zip(offset..) {
            *byte = (at % 251) as u8;
        }
        Ok(())
    }

    fn runs(&self, offset: u64, length: u64, most: usize, _: &dyn Fn() -> bool) -> Result<Vec<(u64, bool)>> {
        let hole = SIZE / 4 * 3;
        let data = hole.saturating_sub(offset).min(length);
        let runs = [(data, false), (length - data, true)];
        Ok(runs.into_iter().filter(|(length, _)| *length > 0).take(most).collect())
    }
}

/// Both directions of a connection in memory: what the client says is there from the beginning.
struct Script {
    said: Cursor<Vec<u8>>,
    heard: Vec<u8>,
}

impl Read for Script {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.said.read(buffer)
    }
}

impl Write for Script {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.heard.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn an_option(number: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = OPTION_MAGIC.to_be_bytes().to_vec();
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.extend_from_slice(&(data.len() as u32).to_be_bytes());
    bytes.extend_from_slice(data);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat()
}

/// What comes of a negotiation, and the kinds of its answers.
fn talk(said: &[Vec<u8>]) -> (io::Result<Option<Agreed>>, Vec<u32>) {
    let said = [3u32.to_be_bytes().to_vec(), said.concat()].concat();
    let mut script = Script { said: Cursor::new(said), heard: Vec::new() };
    let outcome = negotiate(&mut script, SIZE);
    let mut rest = &script.heard[18..];
    let mut kinds = Vec::new();
    while rest.len() >= 20 && rest[..8] == 0x0003_e889_0455_65a9u64.to_be_bytes() {
        let word = |at: usize| u32::from_be_bytes(rest[at..at + 4].try_into().unwrap());
        kinds.push(word(12));
        rest = &rest[20 + word(16) as usize..];
    }
    (outcome, kinds)
}

#[test]
fn negotiates_as_qemu_does() {
    let info = [text("disk"), vec![0, 1, 0, 3]].concat();
    let contexts = [text("disk"), 1u32.to_be_bytes().to_vec(), text(ALLOCATION)].concat();
    let (agreed, kinds) = talk(&[
        an_option(option::STRUCTURED_REPLY, &[]),
        an_option(option::SET_META_CONTEXT, &contexts),
        an_option(option::GO, &info),
    ]);
    assert_eq!(agreed.unwrap(), Some(Agreed { structured: true, allocation: true }));
    assert_eq!(kinds, [reply::ACK, reply::META_CONTEXT, reply::ACK, reply::INFO, reply::INFO, reply::ACK]);
}

#[test]
fn refuses_what_it_does_not_know_and_goes_on() {
    let unknown = [text("other"), vec![0, 0]].concat();
    let contexts = [text("disk"), 0u32.to_be_bytes().to_vec()].concat();
    let short = [text("disk"), vec![0, 2, 0, 3]].concat();
    let (agreed, kinds) = talk(&[
        an_option(5, &[]),
        an_option(77, b"whatever"),
        an_option(option::GO, &unknown),
        an_option(option::INFO, &short),
        an_option(option::INFO, &[0xff; 8]),
        an_option(option::LIST, b"x"),
        an_option(option::SET_META_CONTEXT, &contexts),
        an_option(option::LIST, &[]),
        an_option(option::ABORT, &[]),
    ]);
    assert_eq!(agreed.unwrap(), None);
    let expected = [
        reply::UNSUPPORTED,
        reply::UNSUPPORTED,
        reply::UNKNOWN,
        reply::INVALID,
        reply::INVALID,
        reply::INVALID,
        reply::INVALID,
        reply::SERVER,
        reply::ACK,
        reply::ACK,
    ];
    assert_eq!(kinds, expected);
    let (outcome, kinds) = talk(&[an_option(option::GO, &vec![0; 20_000]), an_option(option::ABORT, &[])]);
    assert!(outcome.unwrap().is_none() && kinds == [reply::TOO_BIG, reply::ACK]);
    let endless: Vec<_> = (0..100).map(|_| an_option(77, &[])).collect();
    assert!(talk(&endless).0.is_err());
    // A length that nobody means: the connection ends, nothing is allocated.
    let mut huge = an_option(option::GO, &[]);
    huge[12..16].copy_from_slice(&u32::MAX.to_be_bytes());
    assert!(talk(&[huge]).0.is_err());
}

/// A client that has agreed upon simple answers, or structured ones.
struct Client(UnixStream);

impl Client {
    fn connect(path: &std::path::Path, structured: bool) -> Self {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut hello = [0; 18];
        stream.read_exact(&mut hello).unwrap();
        stream.write_all(&3u32.to_be_bytes()).unwrap();
        if structured {
            stream.write_all(&an_option(option::STRUCTURED_REPLY, &[])).unwrap();
            stream.read_exact(&mut [0; 20]).unwrap();
        }
        stream.write_all(&an_option(option::EXPORT_NAME, b"disk")).unwrap();
        let mut export = [0; 10];
        stream.read_exact(&mut export).unwrap();
        assert_eq!(export[..8], SIZE.to_be_bytes());
        Self(stream)
    }

    fn ask(&mut self, command: u16, cookie: u64, offset: u64, length: u32) {
        let mut bytes = REQUEST_MAGIC.to_be_bytes().to_vec();
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&command.to_be_bytes());
        bytes.extend_from_slice(&cookie.to_be_bytes());
        bytes.extend_from_slice(&offset.to_be_bytes());
        bytes.extend_from_slice(&length.to_be_bytes());
        self.0.write_all(&bytes).unwrap();
    }

    /// Error and cookie of a simple answer.
    fn answer(&mut self) -> (u32, u64) {
        let mut bytes = [0; 16];
        self.0.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes[..4], 0x6744_6698u32.to_be_bytes());
        let error = u32::from_be_bytes(bytes[4..8].try_into().unwrap());
        (error, u64::from_be_bytes(bytes[8..].try_into().unwrap()))
    }

    fn data(&mut self, offset: u64, length: usize) {
        let mut data = vec![0; length];
        self.0.read_exact(&mut data).unwrap();
        assert!(
            data.iter().zip(offset..).all(|(byte, at)| u64::from(*byte) == at % 251),
            "{offset} {length}"
        );
    }
}

fn serve() -> (tempfile::TempDir, std::path::PathBuf, NbdServer, Arc<Pattern>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.sock");
    let pattern = Arc::new(Pattern::default());
    let server = NbdServer::start(UnixListener::bind(&path).unwrap(), pattern.clone()).unwrap();
    (dir, path, server, pattern)
}

#[test]
fn a_request_that_waits_holds_up_no_other_and_is_answered_in_the_end() {
    let (_dir, path, _server, pattern) = serve();
    let mut client = Client::connect(&path, false);
    client.ask(command::READ, 1, 0, 512);
    for cookie in 2..12 {
        client.ask(command::READ, cookie, 4096 * cookie, 1000);
        assert_eq!(client.answer(), (0, cookie));
        client.data(4096 * cookie, 1000);
    }
    pattern.open.store(true, Ordering::SeqCst);
    assert_eq!(client.answer(), (0, 1));
    client.data(0, 512);
}

#[test]
fn bad_requests_are_refused_and_the_connection_lives() {
    let (_dir, path, _server, _) = serve();
    let mut client = Client::connect(&path, false);
    for (command, offset, length, error) in [
        (command::READ, SIZE, 1, errno::INVALID),
        (command::READ, SIZE - 1, 2, errno::INVALID),
        (command::READ, u64::MAX, u32::MAX, errno::INVALID),
        (command::READ, 1, u32::MAX, errno::INVALID),
        (command::BLOCK_STATUS, 0, 512, errno::INVALID),
        (3, 0, 0, errno::INVALID),
        (4, 0, 512, errno::INVALID),
        (6, 0, 512, errno::INVALID),
        (999, 0, 512, errno::INVALID),
    ] {
        client.ask(command, 7, offset, length);
        assert_eq!(client.answer(), (error, 7), "{command} {offset} {length}");
    }
    client.ask(command::WRITE, 8, 512, 3000);
    client.0.write_all(&[1; 3000]).unwrap();
    assert_eq!(client.answer(), (errno::PERMISSION, 8));
    client.ask(command::READ, 9, 512, 0);
    assert_eq!(client.answer(), (0, 9));
    client.ask(command::READ, 10, 512, 1 << 20);
    assert_eq!(client.answer(), (0, 10));
    client.data(512, 1 << 20);
    // What is no request ends the connection.
    client.0.write_all(&[0x5a; 28]).unwrap();
    assert_eq!(client.0.read(&mut [0; 16]).unwrap(), 0);
}

#[test]
fn a_client_that_leaves_takes_its_waiting_requests_along_and_a_dropped_server_everybody() {
    let (_dir, path, server, _) = serve();
    for round in 0..6 {
        let mut client = Client::connect(&path, round % 2 == 0);
        // More than are worked on at a time.
        for cookie in 0..30 {
            client.ask(command::READ, cookie, 0, 512);
        }
    }
    let until = Instant::now() + Duration::from_secs(10);
    while server.is_connected() {
        assert!(Instant::now() < until, "connections are left");
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut client = Client::connect(&path, false);
    client.ask(command::READ, 1, 0, 512);
    drop(server);
    assert_eq!(client.0.read(&mut [0; 16]).unwrap_or(0), 0);
    assert!(UnixStream::connect(&path).is_err());
}

/// A client that reads nothing for longer than an answer may take to be written.
#[test]
fn nothing_follows_half_an_answer() {
    const LENGTH: u32 = 1 << 20;
    let (mut client, server) = UnixStream::pair().unwrap();
    server.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
    let request = |cookie: u64| {
        let mut bytes = REQUEST_MAGIC.to_be_bytes().to_vec();
        bytes.extend_from_slice(&[0, 0, 0, command::READ as u8]);
        bytes.extend_from_slice(&cookie.to_be_bytes());
        bytes.extend_from_slice(&4096u64.to_be_bytes());
        bytes.extend_from_slice(&LENGTH.to_be_bytes());
        bytes
    };
    for cookie in 1..=8 {
        client.write_all(&request(cookie)).unwrap();
    }
    let leave = || drop(server.shutdown(std::net::Shutdown::Both));
    let (agreed, pattern) = (Agreed::default(), Pattern::default());
    // Comes back because the first answer that is not taken closes the connection.
    let _ended =
        transmit(&mut &server, &mut &server, &pattern, agreed, &Budget::default(), &|| false, &leave);
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).unwrap();
    let whole = 16 + LENGTH as usize;
    assert!(!heard.is_empty() && heard.len() < whole, "{} bytes of one answer", heard.len());
    for (at, byte) in heard.iter().enumerate().skip(16) {
        assert_eq!(*byte, ((4096 + at - 16) % 251) as u8, "at {at}");
    }
}

proptest! {
    /// Whatever a client says, it is parsed without a panic, and what is parsed fits the bytes.
    #[test]
    fn parsers_take_anything(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Some(query) = InfoQuery::parse(&bytes) {
            prop_assert!(query.export.len() + 6 <= bytes.len());
        }
        if let Some(query) = ContextQuery::parse(&bytes) {
            prop_assert!(query.export.len() + 8 <= bytes.len());
        }
        if let Some(header) = bytes.first_chunk::<16>() {
            OptionHeader::parse(header);
        }
        if let Some(request) = bytes.first_chunk::<28>().and_then(Request::parse) {
            let inside = u128::from(request.offset) + u128::from(request.length) <= u128::from(SIZE);
            prop_assert_eq!(request.is_inside(SIZE), inside);
        }
    }

    /// Whatever a client says, the negotiation ends, and only a client that asks for the disk gets it.
    #[test]
    fn negotiations_end(
        options in proptest::collection::vec((0..12u32, proptest::collection::vec(any::<u8>(), 0..40)), 0..20),
        cut in 0..2000usize,
    ) {
        let mut said: Vec<u8> = options.iter().flat_map(|(number, data)| an_option(*number, data)).collect();
        said.truncate(cut);
        if let Ok(Some(_)) = talk(&[said]).0 {
            let asks = |(number, _): &(u32, Vec<u8>)| [option::EXPORT_NAME, option::GO].contains(number);
            prop_assert!(options.iter().any(asks));
        }
    }

    /// Whatever requests come, each one gets one answer or the connection ends; reads never leave the disk.
    #[test]
    fn requests_are_answered_or_the_connection_ends(
        requests in proptest::collection::vec(
            (prop_oneof![Just(0u16), Just(1), Just(7), any::<u16>()], prop_oneof![0..2 * SIZE, any::<u64>()],
             prop_oneof![0..70_000u32, Just(MAX_PAYLOAD + 1), any::<u32>()]),
            0..12,
        ),
        structured in any::<bool>(),
    ) {
        let mut said = Vec::new();
        for (index, (kind, offset, length)) in requests.iter().enumerate() {
            said.extend_from_slice(&REQUEST_MAGIC.to_be_bytes());
            said.extend_from_slice(&[0, 0]);
            said.extend_from_slice(&kind.to_be_bytes());
            said.extend_from_slice(&(index as u64).to_be_bytes());
            said.extend_from_slice(&offset.to_be_bytes());
            said.extend_from_slice(&length.to_be_bytes());
        }
        let pattern = Pattern { open: AtomicBool::new(true) };
        let mut heard = Vec::new();
        let agreed = Agreed { structured, allocation: structured };
        let outcome = transmit(&mut Cursor::new(said), &mut heard, &pattern, agreed, &Budget::default(), &|| false, &|| {});
        let magic = if structured { 0x668e_33efu32 } else { 0x6744_6698 };
        if outcome.is_ok() && !requests.is_empty() && requests.iter().all(|(kind, ..)| *kind != 1 && *kind != 2) {
            prop_assert_eq!(&heard[..4], &magic.to_be_bytes()[..]);
        }
    }
}
