//! The plugin's logic, natively, against qemu-img, against images that others wrote, and against hostile ones.

mod check;
mod corpus;
mod fuzz;
mod hostile;
mod large;
mod map;
mod random;
mod read;
mod support;
mod write;
