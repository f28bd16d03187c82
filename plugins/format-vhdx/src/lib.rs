//! The vhdx format.
