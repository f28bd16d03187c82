//! The plugin's logic, natively, against qemu-img, against images that others wrote, and against hostile ones.

mod check;
mod corpus;
mod fuzz;
mod hostile;
mod large;
mod map;
mod random;
mod read;
mod write;

/// A directory for images of the format.
type Scratch = witvirt_testkit::Scratch<format_qcow2::Qcow2>;
