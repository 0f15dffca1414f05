//! Benchmarks: one binary, a module per subject. `cargo bench -- map` runs one.

mod map;

criterion::criterion_main!(map::benches);
