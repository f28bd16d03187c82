//! Failures of the parts as the API tells them.

use witvirt_disk::ErrorKind as Disk;
use witvirt_machine::ErrorKind as Machine;

use crate::api::error::chain;
use crate::api::{Error, ErrorKind};

impl From<witvirt_disk::Error> for Error {
    fn from(error: witvirt_disk::Error) -> Self {
        let kind = match error.kind() {
            Disk::InvalidInput | Disk::Corrupt | Disk::Unsupported | Disk::Limit => ErrorKind::Invalid,
            Disk::NotFound => ErrorKind::NotFound,
            Disk::AlreadyExists | Disk::InUse | Disk::Changed => ErrorKind::Conflict,
            Disk::Denied => ErrorKind::Denied,
            Disk::Unavailable => ErrorKind::Unreachable,
            Disk::Cancelled => ErrorKind::Unavailable,
            Disk::NoSpace | Disk::Plugin | Disk::Io => ErrorKind::Internal,
        };
        let told = Self::new(kind, chain(&error));
        match error.kind() {
            Disk::Denied if told.message.contains("allowed directories") => {
                told.hint("the operator lists directories in [store] allowed-directories")
            }
            Disk::Denied if told.message.contains("credentials") => told.hint(
                "give credentials with --login-file, for registries also with --auth-file; disks of machines are fetched with \
                 those of the config",
            ),
            Disk::NoSpace => told.hint("free some space, or set another [store] directory"),
            Disk::AlreadyExists => told.hint("choose another name, or take it over with --replace"),
            Disk::InUse => told.hint("remove the machines that use it first, or insist with --force"),
            _ => told,
        }
    }
}

impl From<witvirt_machine::Error> for Error {
    fn from(error: witvirt_machine::Error) -> Self {
        let kind = match error.kind {
            Machine::NotFound => ErrorKind::NotFound,
            Machine::Exists | Machine::Refused | Machine::Locked => ErrorKind::Conflict,
            Machine::Invalid | Machine::Unsupported => ErrorKind::Invalid,
            Machine::Denied => ErrorKind::Refused,
            Machine::Timeout => ErrorKind::Timeout,
            Machine::Closed => ErrorKind::Unavailable,
            _ => ErrorKind::Internal,
        };
        let told = Self::new(kind, chain(&error));
        match error.kind {
            Machine::NotFound => told.hint("`witvirt ps` lists the machines"),
            Machine::Exists => {
                told.hint("choose another with --name, or remove that machine with `witvirt rm`")
            }
            _ => told,
        }
    }
}
