//! Any bytes as a command line or script of xhyve, hyperkit or bhyve.

use domain_xhyve::{Dialect, Settings, convert};
use witvirt_sdk::core::domain::Severity;
use witvirt_sdk::domain::Options;
use witvirt_sdk::xml::Document;

/// What must hold: nothing panics; the same document gives the same answer; what comes out is XML; texts are bounded, and
/// lines exist.
pub fn run(data: &[u8]) {
    let Ok(document) = std::str::from_utf8(data) else { return };
    let options = Options { directory: Some("/vm".to_owned()), ..Options::default() };
    for dialect in [None, Some(Dialect::Bhyve)] {
        let settings = Settings { dialect, ..Settings::default() };
        let made = match convert(document, &options, &settings) {
            Ok(made) => made,
            Err(error) => {
                assert!(error.to_string().len() < 8 << 10, "{error}");
                continue;
            }
        };
        assert_eq!(convert(document, &options, &settings).expect("converted before"), made);
        let tree = Document::parse(&made.xml).expect("what is written is XML");
        assert_eq!(tree.local_name(tree.root()), "domain");
        let lines = document.matches('\n').count() as u32 + 1;
        for diagnostic in &made.diagnostics {
            assert!(diagnostic.message.len() < 1100 && diagnostic.code.starts_with("xhyve."));
            assert!(diagnostic.line.is_none_or(|line| (1..=lines).contains(&line)), "{diagnostic:?}");
            assert!(diagnostic.severity != Severity::Error || !diagnostic.message.is_empty());
        }
    }
}

/// Scripts with every part of the language, and one line of each dialect.
pub fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        include_str!("../../../plugins/domain-xhyve/tests/golden/install.sh"),
        include_str!("../../../plugins/domain-xhyve/tests/golden/run.sh"),
        include_str!("../../../plugins/domain-xhyve/tests/golden/language.sh"),
        "[\"com.docker.hyperkit\", \"-AuH\", \"-F\", \"pid\", \"-c4\", \"-m\", \"2G\", \"-s\", \"0,hostbridge\", \"-s\", \
         \"1:0,virtio-vpnkit,path=a,uuid=53982f00-fdfc-430c-b504-4d70c38c178d\", \"-s\", \
         \"3,ahci-hd,file:///a%20b?sync=os&buffered=1,format=qcow,qcow-config=a=b;c\", \"-l\", \"com1,null,log=r\", \"-f\", \
         \"kexec,k,i,c\"]",
        "grub-bhyve --root=hd0,msdos1 -m map -M 2048M vm\nbhyve -c cpus=4,sockets=2,cores=2 -m 2G -AHP -s 0,hostbridge -s \
         1,lpc -s 2,ahci,hd:/a,ro,cd:/b -s 3,virtio-net,tap0,mac=00:a0:98:1e:c0:08 -s 4,nvme,/c,ser=x,sectorsize=4096 -s \
         29,fbuf,tcp=0.0.0.0:5900,w=800,h=600 -s 30,xhci,tablet -l com1,/dev/nmdm0A -l bootrom,/r.fd,/v.fd vm",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
