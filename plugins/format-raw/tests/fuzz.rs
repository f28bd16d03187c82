//! The body of the fuzz target over the edges of its numbers.

#[path = "../../../tests/fuzz/bodies/raw.rs"]
mod body;

#[test]
fn edges() {
    const EDGES: [u64; 10] =
        [0, 1, 511, 512, 513, 1 << 20, (1 << 40) + 7, i64::MAX as u64, u64::MAX - 511, u64::MAX];
    for file in EDGES {
        for start in EDGES {
            for length in EDGES {
                for max in [0, 1, 2, u64::MAX] {
                    body::run(&[file, start, length, max].map(u64::to_le_bytes).concat());
                }
            }
        }
    }
}
