//! The plugin's logic, natively, against qemu-img, against images that others wrote, and against hostile ones.

mod build;
mod corpus;
mod differencing;
mod fuzz;
mod hostile;
mod large;
mod random;
mod read;
mod support;
mod write;
