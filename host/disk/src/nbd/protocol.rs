//! The shapes of messages. Pure: bytes in, values out. All numbers are big-endian.

/// First bytes of a server.
pub(super) const MAGIC: u64 = 0x4e42_444d_4147_4943;
/// Begins every option; the second number of a server.
pub(super) const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
/// Begins every answer to an option.
pub(super) const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
/// Begins every request.
pub(super) const REQUEST_MAGIC: u32 = 0x2560_9513;
/// Begins a simple answer to a request.
pub(super) const SIMPLE_MAGIC: u32 = 0x6744_6698;
/// Begins a structured one.
pub(super) const STRUCTURED_MAGIC: u32 = 0x668e_33ef;

/// The server speaks the fixed newstyle negotiation; also the client's flag for the same.
pub(super) const FIXED_NEWSTYLE: u16 = 1;
/// The server can leave out 124 zeros; also the client's flag for the same.
pub(super) const NO_ZEROES: u16 = 2;

/// Flags of the export: they are there, it is read only, "do not fragment" is understood, several connections see the same.
pub(super) const EXPORT_FLAGS: u16 = 1 | 2 | 1 << 7 | 1 << 8;

pub(super) mod option {
    pub(in crate::nbd) const EXPORT_NAME: u32 = 1;
    pub(in crate::nbd) const ABORT: u32 = 2;
    pub(in crate::nbd) const LIST: u32 = 3;
    pub(in crate::nbd) const INFO: u32 = 6;
    pub(in crate::nbd) const GO: u32 = 7;
    pub(in crate::nbd) const STRUCTURED_REPLY: u32 = 8;
    pub(in crate::nbd) const LIST_META_CONTEXT: u32 = 9;
    pub(in crate::nbd) const SET_META_CONTEXT: u32 = 10;
}

pub(super) mod reply {
    pub(in crate::nbd) const ACK: u32 = 1;
    pub(in crate::nbd) const SERVER: u32 = 2;
    pub(in crate::nbd) const INFO: u32 = 3;
    pub(in crate::nbd) const META_CONTEXT: u32 = 4;
    pub(in crate::nbd) const UNSUPPORTED: u32 = 1 << 31 | 1;
    pub(in crate::nbd) const INVALID: u32 = 1 << 31 | 3;
    pub(in crate::nbd) const UNKNOWN: u32 = 1 << 31 | 6;
    pub(in crate::nbd) const TOO_BIG: u32 = 1 << 31 | 9;
}

pub(super) mod command {
    pub(in crate::nbd) const READ: u16 = 0;
    pub(in crate::nbd) const WRITE: u16 = 1;
    pub(in crate::nbd) const DISCONNECT: u16 = 2;
    pub(in crate::nbd) const BLOCK_STATUS: u16 = 7;
    /// A flag of `BLOCK_STATUS`: one run is enough.
    pub(in crate::nbd) const ONE: u16 = 1 << 3;
}

pub(super) mod chunk {
    pub(in crate::nbd) const DATA: u16 = 1;
    pub(in crate::nbd) const BLOCK_STATUS: u16 = 5;
    pub(in crate::nbd) const ERROR: u16 = 1 << 15 | 1;
    /// The last one of an answer.
    pub(in crate::nbd) const DONE: u16 = 1;
}

pub(super) mod errno {
    pub(in crate::nbd) const PERMISSION: u32 = 1;
    pub(in crate::nbd) const IO: u32 = 5;
    pub(in crate::nbd) const INVALID: u32 = 22;
    pub(in crate::nbd) const OVERFLOW: u32 = 75;
}

/// The only context that is offered.
pub(super) const ALLOCATION: &str = "base:allocation";
/// Its number.
pub(super) const ALLOCATION_ID: u32 = 1;
/// In that context: nothing is stored here, and it reads as zeros.
pub(super) const HOLE: u32 = 1 | 2;

/// Longest data of an option, in bytes: names have 4,096 at most.
pub(super) const MAX_OPTION: u32 = 16 << 10;
/// Longest read and longest write that is skipped, in bytes: what the protocol lets clients assume.
pub(super) const MAX_PAYLOAD: u32 = 32 << 20;

/// A request's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) flags: u16,
    pub(super) command: u16,
    /// The client's name for it.
    pub(super) cookie: u64,
    pub(super) offset: u64,
    pub(super) length: u32,
}

impl Request {
    pub(super) const SIZE: usize = 28;

    /// `None` when it does not begin as a request does.
    pub(super) fn parse(bytes: &[u8; Self::SIZE]) -> Option<Self> {
        let mut fields = Fields(bytes);
        if fields.u32()? != REQUEST_MAGIC {
            return None;
        }
        Some(Self {
            flags: fields.u16()?,
            command: fields.u16()?,
            cookie: fields.u64()?,
            offset: fields.u64()?,
            length: fields.u32()?,
        })
    }

    /// Whether the range lies inside a disk of `size` bytes.
    pub(super) fn is_inside(&self, size: u64) -> bool {
        self.offset.checked_add(u64::from(self.length)).is_some_and(|end| end <= size)
    }
}

/// What `INFO` and `GO` ask for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct InfoQuery<'a> {
    pub(super) export: &'a [u8],
    /// Whether block sizes are asked for.
    pub(super) block_size: bool,
}

impl<'a> InfoQuery<'a> {
    pub(super) fn parse(data: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(data);
        let export = fields.text()?;
        let count = fields.u16()?;
        let mut block_size = false;
        for _ in 0..count {
            block_size |= fields.u16()? == INFO_BLOCK_SIZE;
        }
        fields.is_empty().then_some(Self { export, block_size })
    }
}

/// Size and flags of an export.
pub(super) const INFO_EXPORT: u16 = 0;
/// Which sizes of requests are good.
pub(super) const INFO_BLOCK_SIZE: u16 = 3;

/// What the two options of contexts ask for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ContextQuery<'a> {
    pub(super) export: &'a [u8],
    /// None asked for: all of them, where they are only listed.
    pub(super) empty: bool,
    /// Whether the one that is offered is meant.
    pub(super) allocation: bool,
}

impl<'a> ContextQuery<'a> {
    pub(super) fn parse(data: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(data);
        let export = fields.text()?;
        let count = fields.u32()?;
        let mut allocation = false;
        for _ in 0..count {
            // Each takes four bytes at least, so the data bounds the loop.
            let query = fields.text()?;
            allocation |= query == ALLOCATION.as_bytes() || query == b"base:";
        }
        fields.is_empty().then_some(Self { export, empty: count == 0, allocation })
    }
}

/// Reads numbers off the front of bytes.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    /// A text with its length before it.
    fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(text)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// An option's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OptionHeader {
    pub(super) option: u32,
    pub(super) length: u32,
}

impl OptionHeader {
    pub(super) const SIZE: usize = 16;

    /// `None` when it does not begin as an option does.
    pub(super) fn parse(bytes: &[u8; Self::SIZE]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let right = fields.u64()? == OPTION_MAGIC;
        let header = Self { option: fields.u32()?, length: fields.u32()? };
        right.then_some(header)
    }
}

/// An answer to an option.
pub(super) fn option_reply(option: u32, kind: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(20 + data.len());
    bytes.extend_from_slice(&OPTION_REPLY_MAGIC.to_be_bytes());
    bytes.extend_from_slice(&option.to_be_bytes());
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&(data.len() as u32).to_be_bytes());
    bytes.extend_from_slice(data);
    bytes
}

/// The header of a simple answer.
pub(super) fn simple_reply(cookie: u64, error: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&SIMPLE_MAGIC.to_be_bytes());
    bytes[4..8].copy_from_slice(&error.to_be_bytes());
    bytes[8..].copy_from_slice(&cookie.to_be_bytes());
    bytes
}

/// The header of the only chunk of a structured answer, before `length` bytes.
pub(super) fn structured_reply(cookie: u64, kind: u16, length: u32) -> [u8; 20] {
    let mut bytes = [0; 20];
    bytes[..4].copy_from_slice(&STRUCTURED_MAGIC.to_be_bytes());
    bytes[4..6].copy_from_slice(&chunk::DONE.to_be_bytes());
    bytes[6..8].copy_from_slice(&kind.to_be_bytes());
    bytes[8..16].copy_from_slice(&cookie.to_be_bytes());
    bytes[16..].copy_from_slice(&length.to_be_bytes());
    bytes
}
