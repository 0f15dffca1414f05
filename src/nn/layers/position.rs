//! The sine and cosine table of absolute positions.

use tch::{Device, Tensor};

/// Positions 0, 1 … of cells, no parameter of the model.
pub struct Positions(Tensor);

impl Positions {
    /// `[1, channels, length]`: sin and cos of t / 10000^(2⌊j/2⌋/channels) in turn, divided by √channels.
    pub fn new(channels: i64, length: usize, device: Device) -> Self {
        let value = |j: i64, t: usize| {
            let angle = t as f64 / 10_000f64.powf((2 * (j / 2)) as f64 / channels as f64);
            ((if j % 2 == 0 { angle.sin() } else { angle.cos() }) / (channels as f64).sqrt()) as f32
        };
        let table: Vec<f32> = (0..channels).flat_map(|j| (0..length).map(move |t| value(j, t))).collect();
        Self(Tensor::from_slice(&table).view([1, channels, length as i64]).to_device(device))
    }

    /// `[1, channels, time]`: the first `time` positions, or all of them stretched linearly when there are fewer.
    pub fn of(&self, time: i64) -> Tensor {
        if time <= self.0.size()[2] { self.0.narrow(2, 0, time) } else { self.0.upsample_linear1d(time, false, None) }
    }
}
