//! TSM-ResNet: He et al., CVPR 2016 (torchvision's layout and parameter names) with the temporal shift of Lin et al., ICCV 2019:
//! inside every residual block, before its first convolution; in every second block of a network with 23 or more blocks in its
//! third layer. The vectors of a clip's frames are averaged.

use super::conv::{ConvNorm, ConvShape, Kernel};
use super::network::{Block, Network, Stem};
use crate::nn::params::Params;

const EPSILON: f64 = 1e-5;

/// Depth from which only every second block shifts.
const DEEP: usize = 23;

/// ResNet-18 and 34: two 3 × 3 convolutions per block.
pub(super) fn basic(params: &mut Params, blocks: &[usize], width: i64) -> Network {
    let path = |params: &mut Params, at: &str, channels: Channels, stride: i64| {
        let Channels { input, inner, .. } = channels;
        vec![conv(params, at, 1, [input, inner], 3, stride, true), conv(params, at, 2, [inner, inner], 3, 1, false)]
    };
    network(params, blocks, width, 1, path)
}

/// ResNet-50: 1 × 1, 3 × 3 (which has the stride) and 1 × 1 to four times the channels.
pub(super) fn bottleneck(params: &mut Params, blocks: &[usize], width: i64) -> Network {
    let path = |params: &mut Params, at: &str, channels: Channels, stride: i64| {
        let Channels { input, inner, output } = channels;
        vec![
            conv(params, at, 1, [input, inner], 1, 1, true),
            conv(params, at, 2, [inner, inner], 3, stride, true),
            conv(params, at, 3, [inner, output], 1, 1, false),
        ]
    };
    network(params, blocks, width, 4, path)
}

/// Channels into a block, between its convolutions, and out of it.
#[derive(Clone, Copy)]
struct Channels {
    input: i64,
    inner: i64,
    output: i64,
}

fn network(
    params: &mut Params,
    blocks: &[usize],
    width: i64,
    expansion: i64,
    path: impl Fn(&mut Params, &str, Channels, i64) -> Vec<ConvNorm>,
) -> Network {
    let stem = vec![unit(params, "conv1", "bn1", [3, width], Kernel::Space { size: 7, stride: 2 }, true)];
    let every = if blocks.get(2).is_some_and(|&n| n >= DEEP) { 2 } else { 1 };
    let (mut layers, mut input) = (Vec::new(), width);
    for (layer, &count) in blocks.iter().enumerate() {
        let inner = width << layer;
        let output = inner * expansion;
        let mut made = Vec::new();
        for block in 0..count {
            let at = format!("layer{}.{block}", layer + 1);
            let stride = if layer > 0 && block == 0 { 2 } else { 1 };
            let path = path(params, &at, Channels { input, inner, output }, stride);
            let shortcut = (stride > 1 || input != output).then(|| {
                let (conv, norm) = (format!("{at}.downsample.0"), format!("{at}.downsample.1"));
                unit(params, &conv, &norm, [input, output], Kernel::Space { size: 1, stride }, false)
            });
            made.push(Block { shift: block % every == 0, path, shortcut });
            input = output;
        }
        layers.push(made);
    }
    Network { stem: Stem { path: stem, pool: true }, layers, channels: input }
}

/// Convolution and norm number `number` of the block at `at`.
fn conv(params: &mut Params, at: &str, number: usize, channels: [i64; 2], size: i64, stride: i64, relu: bool) -> ConvNorm {
    let (conv, norm) = (format!("{at}.conv{number}"), format!("{at}.bn{number}"));
    unit(params, &conv, &norm, channels, Kernel::Space { size, stride }, relu)
}

fn unit(params: &mut Params, conv: &str, norm: &str, [input, output]: [i64; 2], kernel: Kernel, relu: bool) -> ConvNorm {
    ConvNorm::new(params, &ConvShape { conv, norm, input, output, kernel, dimensions: 2, epsilon: EPSILON, relu })
}
