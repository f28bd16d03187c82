//! The vmdk format.
