//! Multi-head attention over time, local or full, on convolved and normalised queries, keys and values (ActionFormer).

use tch::{Kind, Tensor};

use super::masked::{ChannelNorm, Conv1d, ConvSpec, Mask, MaskedConv1d};
use crate::nn::macs;
use crate::nn::params::{Init, Params};

/// Queries that are taken together against their common band of keys.
const BLOCK: i64 = 32;

/// What a forbidden key's score is lowered by: its weight is exactly zero as long as another key is allowed, and a query
/// that has none (padding) still gives finite numbers.
const FORBIDDEN: f64 = -1e30;

/// Shape of an [`Attention`].
#[derive(Clone, Copy)]
pub struct AttentionShape {
    /// Channels.
    pub channels: i64,
    /// Heads.
    pub heads: i64,
    /// Cells of the output per cell of the input, inverted.
    pub stride: i64,
    /// Keys that a query sees, half on either side and itself; at most 1 = all of them.
    pub window: usize,
    /// A learned bias per head and distance (with a window).
    pub relative: bool,
}

/// Depth-wise convolution → norm → projection.
struct Projection {
    conv: MaskedConv1d,
    norm: ChannelNorm,
    linear: Conv1d,
}

impl Projection {
    fn new(params: &mut Params, path: &str, channels: i64, stride: i64) -> Self {
        Self {
            conv: MaskedConv1d::new(params, &format!("{path}_conv"), ConvSpec::depthwise(channels, 3, stride)),
            norm: ChannelNorm::new(params, &format!("{path}_norm"), channels),
            linear: Conv1d::new(params, path, ConvSpec::dense(channels, channels, 1).bias(0.0)),
        }
    }

    /// `[B, T, H, C / H]`.
    fn forward(&self, x: &Tensor, mask: &Mask, heads: i64) -> Tensor {
        let y = self.linear.forward(&self.norm.forward(&self.conv.forward(x, mask))).transpose(1, 2);
        let size = y.size();
        y.reshape([size[0], size[1], heads, size[2] / heads])
    }
}

/// Attention with its projections.
pub struct Attention {
    query: Projection,
    key: Projection,
    value: Projection,
    output: Conv1d,
    relative: Option<Tensor>,
    shape: AttentionShape,
}

impl Attention {
    /// `path.{query, key, value}{_conv.conv, _norm, }` and `path.proj`, with a relative bias also `path.rel_pe`.
    pub fn new(params: &mut Params, path: &str, shape: AttentionShape) -> Self {
        let mut projection = |name: &str| Projection::new(params, &format!("{path}.{name}"), shape.channels, shape.stride);
        let (query, key, value) = (projection("query"), projection("key"), projection("value"));
        let output = Conv1d::new(params, &format!("{path}.proj"), ConvSpec::dense(shape.channels, shape.channels, 1).bias(0.0));
        let relative = (shape.relative && shape.window > 1).then(|| {
            let size = [1, 1, shape.heads, shape.window as i64];
            params.add_plain(&format!("{path}.rel_pe"), &size, Init::Normal((2.0 / shape.channels as f64).sqrt()))
        });
        Self { query, key, value, output, relative, shape }
    }

    /// `[B, C, T]` → `[B, C, T / stride]`, zero at padding; `mask` is that of the output.
    pub fn forward(&self, x: &Tensor, mask: &Mask) -> Tensor {
        let heads = self.shape.heads;
        let of = |projection: &Projection| projection.forward(x, mask, heads);
        let width = self.shape.channels / heads;
        let (query, key, value) = (of(&self.query) * (width as f64).powf(-0.5), of(&self.key), of(&self.value));
        let seen = if self.shape.window > 1 { self.local(&query, &key, &value, mask) } else { full(&query, &key, &value, mask) };
        mask.apply(self.output.forward(&seen.transpose(1, 2)))
    }

    /// Blocks of queries, each against its band of keys: `[B, T, H, D]` three times → `[B, T, C]`.
    fn local(&self, query: &Tensor, key: &Tensor, value: &Tensor, mask: &Mask) -> Tensor {
        let size = query.size();
        let (inputs, time, heads, width) = (size[0], size[1], size[2], size[3]);
        let half = self.shape.window as i64 / 2;
        let block = BLOCK.min(time);
        let (blocks, band) = ((time + block - 1) / block, block + 2 * half);
        let more = blocks * block - time;
        let query = query.constant_pad_nd([0, 0, 0, 0, 0, more]).view([inputs, blocks, block, heads, width]).transpose(2, 3);
        // [B, n, H, D, band]
        let bands = |t: &Tensor| t.constant_pad_nd([0, 0, 0, 0, half, half + more]).unfold(1, band, block);
        let factors = [inputs * blocks * heads, block, band, width];
        let scores = query.matmul(&bands(key));
        macs::product("attention scores", &factors, [&query, key], &scores);
        let weights = (scores + self.band_bias(mask, blocks, block, half)).softmax(-1, Kind::Float);
        let seen = weights.matmul(&bands(value).transpose(3, 4));
        macs::product("attention sums", &factors, [&weights, value], &seen);
        seen.transpose(2, 3).reshape([inputs, blocks * block, heads * width]).narrow(1, 0, time)
    }

    /// What is added to the scores `[B, n, H, block, band]`: the relative bias in the band, [`FORBIDDEN`] outside of it, outside
    /// of the sequence and at padding.
    fn band_bias(&self, mask: &Mask, blocks: i64, block: i64, half: i64) -> Tensor {
        let time = mask.tensor.size()[2];
        let (band, more) = (block + 2 * half, blocks * block - time);
        let device = mask.tensor.device();
        let options = (Kind::Int64, device);
        // Distance of a key from the first that a query sees.
        let distance = Tensor::arange(band, options).unsqueeze(0) - Tensor::arange(block, options).unsqueeze(1);
        let outside = distance.lt(0).logical_or(&distance.gt(2 * half)).to_kind(Kind::Float) * FORBIDDEN;
        let whole = if mask.is_whole() { mask.tensor.narrow(0, 0, 1) } else { mask.tensor.shallow_clone() };
        let allowed = whole.squeeze_dim(1).constant_pad_nd([half, half + more]).unfold(1, band, block);
        let forbidden: Tensor = (1.0 - allowed) * FORBIDDEN;
        let bias = outside + forbidden.unsqueeze(2).unsqueeze(2);
        match &self.relative {
            Some(relative) => {
                let index = distance.clamp(0, 2 * half).reshape([-1]);
                bias + relative.view([self.shape.heads, -1]).index_select(1, &index).view([1, 1, self.shape.heads, block, band])
            }
            None => bias,
        }
    }
}

/// Every query sees every cell that is no padding: `[B, T, H, D]` three times → `[B, T, C]`.
fn full(query: &Tensor, key: &Tensor, value: &Tensor, mask: &Mask) -> Tensor {
    let size = query.size();
    let (inputs, time, heads, width) = (size[0], size[1], size[2], size[3]);
    let factors = [inputs * heads, time, time, width];
    let mut scores = query.transpose(1, 2).matmul(&key.permute([0, 2, 3, 1]));
    macs::product("attention scores", &factors, [query, key], &scores);
    if !mask.is_whole() {
        scores += (1.0 - mask.tensor.unsqueeze(1)) * FORBIDDEN;
    }
    let weights = scores.softmax(-1, Kind::Float);
    let seen = weights.matmul(&value.transpose(1, 2));
    macs::product("attention sums", &factors, [&weights, value], &seen);
    seen.transpose(1, 2).reshape([inputs, time, heads * width])
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    /// The definition, query by query.
    fn slow(query: &Tensor, key: &Tensor, value: &Tensor, valid: &[usize], window: i64) -> Tensor {
        let size = query.size();
        let time = size[1];
        let distance =
            Tensor::arange(time, (Kind::Int64, Device::Cpu)).unsqueeze(0) - Tensor::arange(time, (Kind::Int64, Device::Cpu)).unsqueeze(1);
        let far = distance.abs().gt(window / 2);
        let scores = query.transpose(1, 2).matmul(&key.permute([0, 2, 3, 1])).masked_fill(&far, f64::NEG_INFINITY);
        let padding = Mask::new(valid, time as usize, Device::Cpu).tensor.unsqueeze(1).eq(0.0);
        let weights = scores.masked_fill(&padding, -1e4).softmax(-1, Kind::Float);
        weights.matmul(&value.transpose(1, 2)).transpose(1, 2).reshape([size[0], time, -1])
    }

    #[test]
    fn blocks_with_their_bands_are_local_attention() {
        for (time, window, valid) in [(7, 5, [7, 4]), (64, 19, [64, 64]), (75, 7, [75, 41])] {
            let mut params = Params::new(0, Device::Cpu);
            let shape = AttentionShape { channels: 8, heads: 2, stride: 1, window: window as usize, relative: false };
            let attention = Attention::new(&mut params, "a", shape);
            let random = || Tensor::randn([2, time, 2, 4], (Kind::Float, Device::Cpu));
            let (q, k, v) = (random(), random(), random());
            let mask = Mask::new(&valid, time as usize, Device::Cpu);
            let (fast, slow) = (attention.local(&q, &k, &v, &mask), slow(&q, &k, &v, &valid, window));
            // Rows of padding are zeroed behind the projection.
            let difference = ((fast - slow).transpose(1, 2) * &mask.tensor).abs().max().double_value(&[]);
            assert!(difference < 1e-5, "{time} {window}: {difference}");
        }
    }
}
