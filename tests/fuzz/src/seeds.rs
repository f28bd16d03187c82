//! Writes the seeds of the targets to `corpus/TARGET/`, beside this crate's manifest.

#[path = "../bodies/capacity.rs"]
#[allow(dead_code)]
mod capacity;
#[path = "../bodies/qcow2.rs"]
#[allow(dead_code)]
mod qcow2;

fn main() -> std::io::Result<()> {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (target, seeds) in [("qcow2", qcow2::seeds()), ("capacity", capacity::seeds())] {
        let directory = corpus.join(target);
        std::fs::create_dir_all(&directory)?;
        for (index, seed) in seeds.iter().enumerate() {
            std::fs::write(directory.join(format!("seed-{index}")), seed)?;
        }
        println!("{} seeds in {}", seeds.len(), directory.display());
    }
    Ok(())
}
