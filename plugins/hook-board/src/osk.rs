//! The key of the system management controller, which is nobody's to read.

use serde::Deserialize;
use witvirt_sdk::{Error, ErrorKind};

/// Characters of a key.
const LENGTH: usize = 64;

/// A key. It is shown nowhere: not by `Debug`, not in errors.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Osk(String);

impl Osk {
    /// Whether QEMU takes it.
    ///
    /// # Errors
    /// Says how many characters there are, not which.
    pub fn check(&self) -> Result<(), Error> {
        let length = self.0.chars().count();
        if length == LENGTH && self.0.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(());
        }
        let message = format!(
            "setting osk: has {length} characters; {LENGTH} printable ones without spaces are expected"
        );
        Err(Error::new(ErrorKind::InvalidInput, message))
    }

    /// The controller with this key, as QEMU's `-device` takes it: a comma in a value is doubled.
    pub(crate) fn device(&self) -> String {
        format!("isa-applesmc,osk={}", self.0.replace(',', ",,"))
    }
}

impl std::fmt::Debug for Osk {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Osk(..)")
    }
}
