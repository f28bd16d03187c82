//! Disks of random runs, stored in random ways, come back as they were.

use proptest::prelude::*;

use crate::body::{Place, image};
use crate::support::{content, encode};

const KINDS: [u32; 8] = [0, 1, 2, 0x8000_0004, 0x8000_0005, 0x8000_0006, 0x8000_0007, 0x8000_0008];

fn runs() -> impl Strategy<Value = Vec<Vec<(usize, u64, u8)>>> {
    let run = (0..KINDS.len(), 1..40u64, any::<u8>());
    proptest::collection::vec(proptest::collection::vec(run, 0..6), 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn come_back(tables in runs(), max in 1..20u32, fork in any::<bool>()) {
        let mut plain = Vec::new();
        let mut stored = Vec::new();
        for runs in &tables {
            let mut table = Vec::new();
            for (kind, sectors, seed) in runs {
                let kind = KINDS[*kind];
                let empty = kind == 0 || kind == 2;
                let bytes: Vec<u8> = (0..512 * *sectors)
                    .map(|at| if empty { 0 } else { (at / 50 * u64::from(*seed) % 251) as u8 })
                    .collect();
                table.push((kind, *sectors, encode(kind, &bytes)));
                plain.extend(bytes);
            }
            stored.push(table);
        }
        let place = if fork { Place::Resources } else { Place::Plist };
        prop_assert!(content(&image(&stored, place), max).unwrap() == plain);
    }
}
