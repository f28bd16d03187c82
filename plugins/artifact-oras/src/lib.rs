//! The oras artifact layout.
