//! Benchmarks: one binary, a module per subject. `cargo bench -- map` runs one.

mod map;
#[cfg(feature = "torch")]
mod step;

#[cfg(feature = "torch")]
criterion::criterion_main!(map::benches, step::benches);
#[cfg(not(feature = "torch"))]
criterion::criterion_main!(map::benches);
