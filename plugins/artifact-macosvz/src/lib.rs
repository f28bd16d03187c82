//! The macosvz artifact layout.
