//! The containerdisk artifact layout.
