//! The vdi format.
