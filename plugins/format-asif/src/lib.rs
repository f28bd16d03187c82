//! The asif format.
