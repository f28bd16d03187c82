use std::io::{self, Read};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use witvirt_core::source::ByteSource;

use super::{Ahead, PUNCH, Remote, Spool, Spooling};
use crate::blob::Blob;
use crate::error::{ErrorKind, Result};
use crate::progress::Progress;
use crate::source::Source;
use crate::stream::Plain;
use crate::stream::blocks::{BLOCK, Blocks, Passing};

#[derive(Debug)]
struct Bytes(Vec<u8>);

impl Blob for Bytes {
    fn label(&self) -> &str {
        "bytes"
    }

    fn size(&self) -> Option<u64> {
        Some(self.0.len() as u64)
    }

    fn ranges(&self) -> bool {
        true
    }

    fn version(&self) -> Option<&str> {
        None
    }

    fn digest(&self) -> Option<witvirt_core::Digest> {
        None
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        Ok((&self.0[offset as usize..]).read(buffer).unwrap())
    }

    fn stream(&self, offset: u64) -> Result<Box<dyn Read + Send>> {
        Ok(Box::new(io::Cursor::new(self.0[offset as usize..].to_vec())))
    }
}

const START: u64 = 4 * BLOCK;

fn image() -> Vec<u8> {
    (0..16 * BLOCK).map(|at| (at >> 8) as u8 ^ (at >> 17) as u8).collect()
}

/// The image from `start` on, of which another attempt has seen what is before.
fn spooling(start: u64, ahead: Vec<Ahead>) -> Spooling {
    let image = image();
    let blocks = Arc::new(Blocks::new(tempfile::tempfile().unwrap()));
    Passing::new(Arc::clone(&blocks), 0).update(&image, "bytes").unwrap();
    let blob = Arc::new(Bytes(image.clone()));
    Spooling {
        label: "image".into(),
        reader: Box::new(Plain(blob.stream(start).unwrap())),
        start,
        size: Some(image.len() as u64),
        remote: Some(Remote { blob, base: 0, blocks }),
        ahead,
        file: tempfile::tempfile().unwrap(),
        max: u64::MAX >> 1,
        frees: true,
    }
}

fn read(spool: &Spool, start: u64, end: u64) -> Vec<u8> {
    let mut bytes = vec![0; (end - start) as usize];
    spool.read_exact_at(&mut bytes, start).unwrap();
    bytes
}

#[test]
fn reads_and_comparisons_across_the_start_of_an_attempt() {
    let image = image();
    let ahead = |offset: u64, length: usize, of: &[u8]| {
        let digest = Sha256::digest(&of[offset as usize..offset as usize + length]).into();
        Ahead { offset, length, digest }
    };
    // The first one was compared by the attempt before.
    let known = vec![ahead(0, 100, &[0xff; 100]), ahead(START - 50, 100, &image), ahead(9 << 20, 9, &image)];
    let (spool, _feeding) = Spool::start(spooling(START, known), &Progress::new()).unwrap();
    for (start, end) in
        [(START - 100, START + 100), (100, 2 * BLOCK), (START - 1, START), (10 << 20, 12 << 20)]
    {
        assert!(read(&spool, start, end) == image[start as usize..end as usize], "{start} .. {end}");
    }
    spool.wait_for_all().unwrap();
    let wrong = vec![ahead(START - 50, 100, &vec![7; image.len()])];
    let (spool, _feeding) = Spool::start(spooling(START, wrong), &Progress::new()).unwrap();
    assert_eq!(spool.wait_for_all().unwrap_err().kind(), ErrorKind::Changed);
}

/// What was let go comes again, in whole blocks, and goes again when it was used.
#[test]
fn bytes_that_are_gone_come_again() {
    let image = image();
    let (spool, _feeding) = Spool::start(spooling(0, Vec::new()), &Progress::new()).unwrap();
    for at in (0..16 * BLOCK).step_by(PUNCH as usize) {
        read(&spool, at, at + PUNCH);
        spool.consumed(at, PUNCH);
    }
    assert!(spool.lock().punched.touches(2 * BLOCK, 3 * BLOCK));
    let (start, end) = (2 * BLOCK + 5, 2 * BLOCK + 77);
    assert!(read(&spool, start, end) == image[start as usize..end as usize]);
    assert!(!spool.lock().punched.touches(2 * BLOCK, 3 * BLOCK));
    spool.consumed(2 * BLOCK, BLOCK);
    assert!(spool.lock().punched.touches(2 * BLOCK, 3 * BLOCK));
}

#[test]
fn whoever_cancels_is_heard_between_ranges() {
    let progress = Progress::new();
    let (spool, _feeding) = Spool::start(spooling(START, Vec::new()), &progress).unwrap();
    let mut bytes = [0; 100];
    spool.read_at(&mut bytes, 0).unwrap();
    progress.cancel();
    let error = spool.read_at(&mut bytes, 2 * BLOCK).unwrap_err();
    assert_eq!(error.downcast::<crate::Error>().unwrap().kind(), ErrorKind::Cancelled);
}
