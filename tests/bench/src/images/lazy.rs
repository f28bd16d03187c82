//! How much of a 2 GiB image has arrived when the guest that boots from it speaks.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use witvirt_harness::guest::{self, GREETING};
use witvirt_harness::host::Host;
use witvirt_harness::web::Web;

use super::format::QCOW2;
use super::source::LARGE;

/// A gigabit, in bytes a second.
const RATE: u64 = 125 << 20;

/// Prints the share.
pub fn run(directory: &Path) -> Result<()> {
    let guest = guest::build()?;
    let image = QCOW2.image(&LARGE, directory)?;
    let host = Host::new("")?;
    let _daemon = host.daemon()?;
    let web = Web::serve(&image, true)?;
    web.set_rate(RATE);
    let text = format!(
        "name = \"lazy\"\nos = \"linux\"\nmemory = \"128MiB\"\n\
         [boot]\nkernel = {:?}\ninitrd = {:?}\ncmdline = \"console=ttyS0 quiet panic=-1\"\n\
         [[disks]]\nname = \"root\"\nsource = {{ remote = {{ url = {:?}, format = \"qcow2\" }} }}\n",
        guest.kernel,
        guest.initrd,
        web.url(),
    );
    let file = host.path("files/lazy.toml");
    fs::write(&file, text)?;
    let start = Instant::now();
    host.run(&["create", "--start", "--lazy", &file.to_string_lossy()])?;
    host.wait_console("lazy", GREETING)?;
    let (time, sent, size) = (start.elapsed(), web.sent(), fs::metadata(&image)?.len());
    println!(
        "  {:<31} {:>6.2}% of {} MiB (aim < 10%), after {time:.2?}, over a gigabit",
        "lazy start: guest userspace",
        sent as f64 * 100.0 / size as f64,
        size >> 20,
    );
    host.run(&["rm", "--force", "lazy"]).map(drop)
}
