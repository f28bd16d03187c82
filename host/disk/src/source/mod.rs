//! Files that images are read from: opened once, below directories that the operator allowed, never by a path that a link
//! could bend.

mod allowed;
mod file;
mod lock;

pub use allowed::{AllowedDirs, Located};
pub use file::FileSource;

pub(crate) use allowed::show;
