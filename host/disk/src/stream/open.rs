//! From a source to the image file in it.

use std::io::{self, Cursor as Bytes, Read};
use std::sync::Arc;

use super::decode::{DecoderWindow, decoder, recognise};
use super::incoming::failure;
use super::tar::{self, BLOCK, Chooser, MemberReader, Walk};
use super::transport::{Transport, Unpack};
use crate::error::{Error, ErrorKind, Result};
use crate::request::Reading;
use crate::source::{Cursor, Source, Window};

/// First bytes that are looked at: what a plugin probes with.
const HEAD: usize = 64 << 10;

/// Most wrappings.
const MAX_DEPTH: usize = 4;

/// An image file on its way.
pub(crate) struct Arriving {
    /// Names it in messages.
    pub(crate) label: String,
    /// Its bytes.
    pub(crate) reader: Box<dyn Read + Send>,
    /// How many there are, where that is known.
    pub(crate) size: Option<u64>,
    /// The first of them, which `reader` gives too.
    pub(crate) head: Vec<u8>,
    /// Where it begins in the source; `None` when it is not there as it is.
    pub(crate) base: Option<u64>,
    /// What it was unpacked from, outermost first.
    pub(crate) wrappings: Wrappings,
}

/// What an image was unpacked from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wrappings {
    /// The outermost first.
    pub(crate) transports: Vec<Transport>,
    /// Which member of the last archive it is.
    pub(crate) member: Option<String>,
}

/// What a source turned out to be.
pub(crate) enum Unwrapped {
    /// An image file that can be read at random.
    Whole(Arc<dyn Source>, Wrappings),
    /// One that is compressed, from the beginning of `reader`'s bytes on.
    Packed,
}

/// Decides which wrapping comes off next.
pub(crate) struct Plan<'a> {
    unpack: &'a Unpack,
    /// Which wrappings may be recognised, outermost first; `None`: all.
    only: Option<Vec<Transport>>,
    /// Streams that are decoded at a time, this one included.
    streams: usize,
}

impl<'a> Plan<'a> {
    /// `name` is the source's, as its user gave it.
    pub(crate) fn new(reading: &'a Reading, name: &str) -> Self {
        let raw = reading.format.as_deref() == Some("raw");
        Self { unpack: &reading.unpack, only: raw.then(|| named(name)), streams: 1 }
    }

    /// Whatever is recognised is taken off: the source's name says nothing.
    pub(crate) fn unnamed(unpack: &'a Unpack) -> Self {
        Self { unpack, only: None, streams: 1 }
    }

    /// For one of `streams` that share an import's memory.
    #[must_use]
    pub(crate) fn beside(self, streams: usize) -> Self {
        Self { streams, ..self }
    }

    fn next(&self, depth: usize, head: &[u8], label: &str) -> Result<Option<Transport>> {
        let found = match self.unpack {
            Unpack::Stated(stated) => stated.get(depth).copied(),
            Unpack::Auto => {
                let found = recognise(head).or_else(|| tar::is_tar(head).then_some(Transport::Tar));
                found.filter(|found| self.only.as_ref().is_none_or(|only| only.get(depth) == Some(found)))
            }
        };
        if found.is_some() && depth >= MAX_DEPTH {
            let message = format!("{label} is wrapped more than {MAX_DEPTH} times");
            return Err(Error::new(ErrorKind::Limit, message));
        }
        Ok(found)
    }
}

/// The wrappings that the end of a name speaks of, outermost first.
fn named(name: &str) -> Vec<Transport> {
    let name = name.split(['?', '#']).next().unwrap_or(name).to_ascii_lowercase();
    let mut rest = name.as_str();
    let mut named = Vec::new();
    let endings: [(&str, &[Transport]); 13] = [
        (".gz", &[Transport::Gzip]),
        (".xz", &[Transport::Xz]),
        (".zst", &[Transport::Zstd]),
        (".zstd", &[Transport::Zstd]),
        (".bz2", &[Transport::Bzip2]),
        (".tar", &[Transport::Tar]),
        (".ova", &[Transport::Tar]),
        (".tgz", &[Transport::Gzip, Transport::Tar]),
        (".txz", &[Transport::Xz, Transport::Tar]),
        (".tzst", &[Transport::Zstd, Transport::Tar]),
        (".tbz2", &[Transport::Bzip2, Transport::Tar]),
        (".tbz", &[Transport::Bzip2, Transport::Tar]),
        (".box", &[Transport::Gzip, Transport::Tar]),
    ];
    while let Some((before, transports)) =
        endings.iter().find_map(|(ending, transports)| Some((rest.strip_suffix(ending)?, transports)))
    {
        named.extend_from_slice(transports);
        rest = before;
    }
    named
}

/// Takes the wrappings off a stream. `size` is its length, where that is known. `is_image` says of the first bytes whether a
/// plugin knows them for an image's whatever else they are taken for, as [`unwrap_source`] asks too.
pub(crate) fn unwrap_stream(
    reader: Box<dyn Read + Send>,
    label: &str,
    size: Option<u64>,
    plan: &Plan<'_>,
    member: Option<&str>,
    is_image: &dyn Fn(&[u8]) -> Result<bool>,
) -> Result<Arriving> {
    let wrappings = Wrappings::default();
    let mut arriving =
        Arriving { label: label.to_owned(), reader, size, head: Vec::new(), base: Some(0), wrappings };
    loop {
        arriving.peek()?;
        let depth = arriving.wrappings.transports.len();
        let Some(transport) = plan.next(depth, &arriving.head, label)? else { break };
        if depth == 0 && *plan.unpack == Unpack::Auto && is_image(&arriving.head)? {
            break;
        }
        arriving.unwrap(transport, member, plan.streams)?;
    }
    if member.is_some() && !arriving.wrappings.transports.contains(&Transport::Tar) {
        return Err(no_archive(label));
    }
    Ok(arriving)
}

fn no_archive(label: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("a member was named, but {label} is no archive"))
}

impl Arriving {
    /// Reads the first bytes and puts them back.
    fn peek(&mut self) -> Result<()> {
        let mut head = Vec::with_capacity(HEAD);
        let label = &self.label;
        let read = self.reader.by_ref().take(HEAD as u64).read_to_end(&mut head);
        read.map_err(|error| failure(error, || format!("read {label}")))?;
        let rest = std::mem::replace(&mut self.reader, Box::new(io::empty()));
        self.reader = Box::new(Bytes::new(head.clone()).chain(rest));
        self.head = head;
        Ok(())
    }

    fn unwrap(&mut self, transport: Transport, member: Option<&str>, streams: usize) -> Result<()> {
        let reader = std::mem::replace(&mut self.reader, Box::new(io::empty()));
        if transport == Transport::Tar {
            let (reader, entry) = MemberReader::find(reader, &self.label, member)?;
            self.base = self.base.filter(|_| entry.sparse.is_none()).map(|base| base + entry.offset);
            self.size = Some(entry.size);
            self.reader = Box::new(reader);
            self.wrappings.member = Some(entry.name);
        } else {
            let window = DecoderWindow::next(&self.wrappings.transports, streams);
            self.reader = decoder(transport, reader, &self.label, window)?;
            self.base = None;
            self.size = None;
        }
        self.wrappings.transports.push(transport);
        Ok(())
    }
}

/// Takes archives off a source that can be read at random, without a copy. `is_image` says of a source whether a plugin knows
/// it for an image whatever its first bytes are taken for: those of a .dmg may be a compressed stream's.
pub(crate) fn unwrap_source(
    mut source: Arc<dyn Source>,
    plan: &Plan<'_>,
    member: Option<&str>,
    is_image: &dyn Fn(&dyn Source) -> Result<bool>,
) -> Result<Unwrapped> {
    let mut wrappings = Wrappings::default();
    loop {
        let mut head = vec![0; source.size().min(HEAD as u64) as usize];
        source.read_exact_at(&mut head, 0)?;
        let next = plan.next(wrappings.transports.len(), &head, source.label())?;
        match next {
            Some(_) if *plan.unpack == Unpack::Auto && is_image(source.as_ref())? => break,
            None => break,
            Some(Transport::Tar) => {
                let Some((window, name)) = member_of(&source, member)? else { return Ok(Unwrapped::Packed) };
                source = window;
                wrappings.transports.push(Transport::Tar);
                wrappings.member = Some(name);
            }
            Some(_) => return Ok(Unwrapped::Packed),
        }
    }
    if member.is_some() && wrappings.member.is_none() {
        return Err(no_archive(source.label()));
    }
    Ok(Unwrapped::Whole(source, wrappings))
}

/// The chosen member as a window of the archive; `None` when it is stored with holes.
fn member_of(source: &Arc<dyn Source>, member: Option<&str>) -> Result<Option<(Arc<dyn Source>, String)>> {
    let mut walk = Walk::new(Cursor::new(Arc::clone(source)), source.label());
    let mut chooser = Chooser::new(source.label(), member);
    let mut found = None;
    while let Some(entry) = walk.next()? {
        if chooser.consider(&entry)? {
            found = Some(entry);
        }
    }
    let name = chooser.chosen()?.to_owned();
    let Some(entry) = found.filter(|entry| entry.sparse.is_none()) else { return Ok(None) };
    if entry.offset.saturating_add(entry.size) > source.size() {
        let message = format!(
            "{} ends at byte {}, but its member \"{}\" reaches to byte {} (archives are padded to {BLOCK} bytes)",
            source.label(),
            source.size(),
            name.escape_debug(),
            entry.offset.saturating_add(entry.size)
        );
        return Err(Error::new(ErrorKind::Corrupt, message));
    }
    let window = Window::new(Arc::clone(source), &name, entry.offset, entry.size);
    Ok(Some((Arc::new(window), name)))
}

#[cfg(test)]
mod tests {
    use super::named;
    use crate::stream::Transport::{Bzip2, Gzip, Tar, Xz, Zstd};
    use crate::stream::{Transport, Unpack};

    #[test]
    fn names_speak_of_wrappings() {
        for (name, wrappings) in [
            ("disk.raw", &[][..]),
            ("disk.raw.gz", &[Gzip]),
            ("DISK.TAR.XZ", &[Xz, Tar]),
            ("box.ova", &[Tar]),
            ("box.ova.gz", &[Gzip, Tar]),
            ("https://host/x.raw.zst?sig=a.gz", &[Zstd]),
            ("x.tbz", &[Bzip2, Tar]),
            ("gz", &[]),
        ] {
            assert_eq!(named(name), wrappings, "{name}");
        }
    }

    #[test]
    fn wrappings_are_stated_innermost_first() {
        assert_eq!("tar+gzip".parse(), Ok(Unpack::Stated(vec![Gzip, Tar])));
        assert_eq!("lz4-apple".parse(), Ok(Unpack::Stated(vec![Transport::Lz4Apple])));
        assert_eq!("".parse(), Ok(Unpack::Stated(Vec::new())));
        assert_eq!("auto".parse(), Ok(Unpack::Auto));
        assert!("rar".parse::<Unpack>().is_err() && "gzip+".parse::<Unpack>().is_err());
    }
}
