//! The plugin's logic, natively, against qemu-img, against images that others wrote, and against hostile ones.

mod bundle;
mod fuzz;
mod hostile;
mod random;
mod read;

/// A directory for images of the format.
type Scratch = witvirt_testkit::Scratch<format_parallels::Parallels>;
