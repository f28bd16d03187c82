//! How far a machine of witvirt's is the machine that its document describes.
//!
//! libvirt's own tests come in pairs: a domain XML and the QEMU command line that libvirt makes of it. Both are turned
//! into a [`View`]: what the guest sees of the line, without names, places and the host's side. Two views are compared part
//! by part ([`mod@compare`]); what differs is either on the list of harmless differences, each with its reason
//! ([`harmless`]), or it counts ([`Grade`]).
//!
//! After the fair comparison of a third implementation: policy (NAME.xml, where libvirt fills in devices of its own) and
//! translation (NAME.x86_64-latest.xml, in which they all stand) are scored apart.

pub mod compare;
pub mod corpus;
pub mod harmless;
pub mod options;
pub mod start;
pub mod view;

pub use compare::{Difference, compare};
pub use corpus::{Case, Grade, data, grade};
pub use view::View;
