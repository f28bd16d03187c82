//! The tart artifact layout.
