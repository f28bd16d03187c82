//! Writes the seeds of the targets to `corpus/TARGET/`, beside this crate's manifest.

#[path = "../bodies/artifact.rs"]
#[allow(dead_code)]
mod artifact;
#[path = "../bodies/capacity.rs"]
#[allow(dead_code)]
mod capacity;
#[path = "../bodies/domain_xhyve.rs"]
#[allow(dead_code)]
mod domain_xhyve;
#[path = "../bodies/qcow2.rs"]
#[allow(dead_code)]
mod qcow2;
#[path = "../bodies/vdi.rs"]
#[allow(dead_code)]
mod vdi;
#[path = "../bodies/qed.rs"]
#[allow(dead_code)]
mod qed;
#[path = "../bodies/vpc.rs"]
#[allow(dead_code)]
mod vpc;
#[path = "../bodies/dmg.rs"]
#[allow(dead_code)]
mod dmg;
#[path = "../bodies/parallels.rs"]
#[allow(dead_code)]
mod parallels;
#[path = "../bodies/sparseimage.rs"]
#[allow(dead_code)]
mod sparseimage;
#[path = "../bodies/asif.rs"]
#[allow(dead_code)]
mod asif;
#[path = "../bodies/vmdk.rs"]
#[allow(dead_code)]
mod vmdk;
#[path = "../bodies/vhdx.rs"]
#[allow(dead_code)]
mod vhdx;

fn main() -> std::io::Result<()> {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let all = [
        ("dmg", dmg::seeds()),
        ("sparseimage", sparseimage::seeds()),
        ("asif", asif::seeds()),
        ("qcow2", qcow2::seeds()),
        ("capacity", capacity::seeds()),
        ("domain_xhyve", domain_xhyve::seeds()),
        ("artifact", ["containerdisk", "macosvz", "tart", "oras"].map(artifact::seeds).concat()),
        ("parallels", parallels::seeds()),
        ("qed", qed::seeds()),
        ("vdi", vdi::seeds()),
        ("vmdk", vmdk::seeds()),
        ("vpc", vpc::seeds()),
        ("vhdx", vhdx::seeds()),
    ];
    for (target, seeds) in all {
        let directory = corpus.join(target);
        std::fs::create_dir_all(&directory)?;
        for (index, seed) in seeds.iter().enumerate() {
            std::fs::write(directory.join(format!("seed-{index}")), seed)?;
        }
        println!("{} seeds in {}", seeds.len(), directory.display());
    }
    Ok(())
}
