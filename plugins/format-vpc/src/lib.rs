//! The vpc format.
