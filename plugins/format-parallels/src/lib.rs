//! The parallels format.
