//! The hypervisors' own languages: flags, slots, sizes, backends.
//!
//! Facts: machyve/xhyve `src/xhyve.c`, `pci_emul.c`, `block_if.c`, `uart_emul.c`, `firmware/*.c`; moby/hyperkit; bhyve(8).

pub(crate) mod block;
pub(crate) mod display;
pub(crate) mod firmware;
pub(crate) mod getopt;
pub(crate) mod lpc;
pub(crate) mod network;
pub(crate) mod number;
pub(crate) mod slot;

use crate::findings::Place;

/// A text on the command line, and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Text<'a> {
    pub(crate) text: &'a str,
    pub(crate) place: Place,
}
