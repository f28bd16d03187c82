//! From the first byte of a connection to its first request.

use std::io::{self, Read, Write};

use super::EXPORT;
use super::protocol::{
    ALLOCATION, ALLOCATION_ID, ContextQuery, EXPORT_FLAGS, FIXED_NEWSTYLE, INFO_BLOCK_SIZE, INFO_EXPORT,
    InfoQuery, MAGIC, MAX_OPTION, MAX_PAYLOAD, NO_ZEROES, OPTION_MAGIC, OptionHeader, option, option_reply,
    reply,
};

/// Most options of one connection: nobody needs more than a handful.
const MAX_OPTIONS: usize = 64;

/// What was agreed upon.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Agreed {
    /// Whether answers are structured.
    pub(super) structured: bool,
    /// Whether the client may ask what is allocated.
    pub(super) allocation: bool,
}

/// How the negotiation goes on after an option.
enum Next {
    Option,
    Transmission,
    End,
}

/// Negotiates; `None` when the client leaves in good order.
///
/// # Errors
/// When the connection breaks, or the client breaks the protocol.
pub(super) fn negotiate(stream: &mut (impl Read + Write), size: u64) -> io::Result<Option<Agreed>> {
    let mut greeting = Vec::with_capacity(18);
    greeting.extend_from_slice(&MAGIC.to_be_bytes());
    greeting.extend_from_slice(&OPTION_MAGIC.to_be_bytes());
    greeting.extend_from_slice(&(FIXED_NEWSTYLE | NO_ZEROES).to_be_bytes());
    stream.write_all(&greeting)?;
    let mut flags = [0; 4];
    stream.read_exact(&mut flags)?;
    let flags = u32::from_be_bytes(flags);
    if flags & !u32::from(FIXED_NEWSTYLE | NO_ZEROES) != 0 {
        return Err(broken("unknown client flags"));
    }
    let mut negotiation =
        Negotiation { stream, size, zeroes: flags & u32::from(NO_ZEROES) == 0, agreed: Agreed::default() };
    for _ in 0..MAX_OPTIONS {
        match negotiation.option()? {
            Next::Option => {}
            Next::Transmission => return Ok(Some(negotiation.agreed)),
            Next::End => return Ok(None),
        }
    }
    Err(broken("options without end"))
}

struct Negotiation<'a, S> {
    stream: &'a mut S,
    size: u64,
    zeroes: bool,
    agreed: Agreed,
}

impl<S: Read + Write> Negotiation<'_, S> {
    fn option(&mut self) -> io::Result<Next> {
        let mut header = [0; OptionHeader::SIZE];
        self.stream.read_exact(&mut header)?;
        let Some(OptionHeader { option, length }) = OptionHeader::parse(&header) else {
            return Err(broken("not an option"));
        };
        if length > MAX_OPTION {
            let skipped =
                io::copy(&mut self.stream.take(u64::from(length.min(MAX_PAYLOAD))), &mut io::sink())?;
            if skipped < u64::from(length) {
                return Err(broken("an option of that length"));
            }
            return self.answer(option, reply::TOO_BIG, &[]);
        }
        let mut data = vec![0; length as usize];
        self.stream.read_exact(&mut data)?;
        match option {
            option::EXPORT_NAME => self.export_name(&data),
            option::ABORT => {
                self.answer(option, reply::ACK, &[])?;
                Ok(Next::End)
            }
            option::LIST if !data.is_empty() => self.answer(option, reply::INVALID, &[]),
            option::LIST => {
                self.answer(option, reply::SERVER, &named(EXPORT.len() as u32, EXPORT))?;
                self.answer(option, reply::ACK, &[])
            }
            option::INFO | option::GO => self.info(option, &data),
            option::STRUCTURED_REPLY if !data.is_empty() => self.answer(option, reply::INVALID, &[]),
            option::STRUCTURED_REPLY => {
                self.agreed.structured = true;
                self.answer(option, reply::ACK, &[])
            }
            option::LIST_META_CONTEXT | option::SET_META_CONTEXT => self.contexts(option, &data),
            _ => self.answer(option, reply::UNSUPPORTED, &[]),
        }
    }

    fn answer(&mut self, option: u32, kind: u32, data: &[u8]) -> io::Result<Next> {
        self.stream.write_all(&option_reply(option, kind, data))?;
        Ok(Next::Option)
    }

    /// The oldest way in, which knows no refusal but the end of the connection.
    fn export_name(&mut self, name: &[u8]) -> io::Result<Next> {
        if !is_ours(name) {
            return Ok(Next::End);
        }
        let mut bytes = self.size.to_be_bytes().to_vec();
        bytes.extend_from_slice(&EXPORT_FLAGS.to_be_bytes());
        if self.zeroes {
            bytes.extend_from_slice(&[0; 124]);
        }
        self.stream.write_all(&bytes)?;
        Ok(Next::Transmission)
    }

    fn info(&mut self, option: u32, data: &[u8]) -> io::Result<Next> {
        let Some(query) = InfoQuery::parse(data) else { return self.answer(option, reply::INVALID, &[]) };
        if !is_ours(query.export) {
            return self.answer(option, reply::UNKNOWN, &[]);
        }
        let mut export = INFO_EXPORT.to_be_bytes().to_vec();
        export.extend_from_slice(&self.size.to_be_bytes());
        export.extend_from_slice(&EXPORT_FLAGS.to_be_bytes());
        self.answer(option, reply::INFO, &export)?;
        if query.block_size {
            let mut sizes = INFO_BLOCK_SIZE.to_be_bytes().to_vec();
            for size in [1, 64 << 10, MAX_PAYLOAD] {
                sizes.extend_from_slice(&size.to_be_bytes());
            }
            self.answer(option, reply::INFO, &sizes)?;
        }
        self.answer(option, reply::ACK, &[])?;
        Ok(if option == option::GO { Next::Transmission } else { Next::Option })
    }

    fn contexts(&mut self, option: u32, data: &[u8]) -> io::Result<Next> {
        let set = option == option::SET_META_CONTEXT;
        if set {
            self.agreed.allocation = false;
        }
        let query = ContextQuery::parse(data).filter(|_| self.agreed.structured);
        let Some(query) = query else { return self.answer(option, reply::INVALID, &[]) };
        if !is_ours(query.export) {
            return self.answer(option, reply::UNKNOWN, &[]);
        }
        if query.allocation || (query.empty && !set) {
            let id = if set { ALLOCATION_ID } else { 0 };
            self.answer(option, reply::META_CONTEXT, &named(id, ALLOCATION))?;
            self.agreed.allocation |= set;
        }
        self.answer(option, reply::ACK, &[])
    }
}

fn named(number: u32, name: &str) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.extend_from_slice(name.as_bytes());
    bytes
}

fn is_ours(name: &[u8]) -> bool {
    name.is_empty() || name == EXPORT.as_bytes()
}

pub(super) fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the client sent {what}"))
}
