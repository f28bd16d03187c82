//! The dmg format.
