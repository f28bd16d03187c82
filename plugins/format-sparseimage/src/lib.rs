//! The sparseimage format.
