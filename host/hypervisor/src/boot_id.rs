//! Which boot of the host this is.

use crate::{Error, ErrorKind};

const PATH: &str = "/proc/sys/kernel/random/boot_id";

/// The kernel's identifier of this boot, a UUID.
pub(crate) fn boot_id() -> Result<String, Error> {
    let text = std::fs::read_to_string(PATH)
        .map_err(|source| Error::caused(ErrorKind::Io, format!("cannot read {PATH}"), source))?;
    Ok(text.trim().to_owned())
}
