//! The plugin's logic, natively, against qemu-img, against images that others wrote, and against hostile ones.

#[path = "../../../../tests/fuzz/bodies/dmg.rs"]
mod body;
mod corpus;
mod fuzz;
mod hostile;
mod random;
mod read;
mod support;
