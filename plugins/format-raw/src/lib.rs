//! The raw format: guest byte n is file byte n.
//!
//! Raw has no signature, so `probe` never claims it: whoever wants raw says so.

mod glue;
