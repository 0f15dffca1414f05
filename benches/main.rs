//! Benchmarks: one binary, a module per subject. `cargo bench -- map` runs one.

#[cfg(feature = "torch")]
mod end_to_end;
mod external;
mod features;
mod forecasts;
mod map;
#[cfg(feature = "torch")]
mod models;
mod sampler;
#[cfg(feature = "torch")]
mod step;

#[cfg(feature = "torch")]
criterion::criterion_main!(
    external::benches,
    features::benches,
    forecasts::benches,
    map::benches,
    sampler::benches,
    models::benches,
    step::benches,
    end_to_end::benches
);
#[cfg(not(feature = "torch"))]
criterion::criterion_main!(external::benches, features::benches, forecasts::benches, map::benches, sampler::benches);
