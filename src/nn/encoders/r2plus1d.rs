//! R(2+1)D: Tran et al., CVPR 2018, in the layout and with the parameter names of TSP (Alwassel et al., ICCVW 2021), which
//! ETAD's release trains. Unlike torchvision's, the channels between the two halves of a convolution are computed for every
//! convolution, not once per block, and norms add 1e-3 to the variance.

use super::conv::{ConvNorm, ConvShape, Kernel};
use super::network::{Block, Network, Stem};
use crate::nn::params::Params;

const EPSILON: f64 = 1e-3;

/// Channels between the two halves of the stem, for a width of 64.
const STEM_MIDDLE: i64 = 45;

/// A network of that many blocks in its layers, each layer of twice the channels of the one before.
pub(super) fn network(params: &mut Params, blocks: &[usize], width: i64) -> Network {
    let middle = (STEM_MIDDLE * width / 64).max(1);
    let stem = vec![
        unit(params, "stem.0", "stem.1", [3, middle], Kernel::Space { size: 7, stride: 2 }, true),
        unit(params, "stem.3", "stem.4", [middle, width], Kernel::Time { size: 3, stride: 1 }, true),
    ];
    let (mut layers, mut input) = (Vec::new(), width);
    for (layer, &count) in blocks.iter().enumerate() {
        let output = width << layer;
        let mut made = Vec::new();
        for block in 0..count {
            let at = format!("layer{}.{block}", layer + 1);
            let stride = if layer > 0 && block == 0 { 2 } else { 1 };
            let first = factorised(params, &format!("{at}.conv1"), [input, output], stride, true);
            let second = factorised(params, &format!("{at}.conv2"), [output, output], 1, false);
            let path = first.into_iter().chain(second).collect();
            let shortcut = (stride > 1 || input != output).then(|| {
                let (conv, norm) = (format!("{at}.downsample.0"), format!("{at}.downsample.1"));
                unit(params, &conv, &norm, [input, output], Kernel::Point { stride }, false)
            });
            made.push(Block { shift: false, path, shortcut });
            input = output;
        }
        layers.push(made);
    }
    Network { stem: Stem { path: stem, pool: false }, layers, channels: input }
}

/// A 3 × 3 × 3 convolution as one over space and one over time, with as many values.
fn factorised(params: &mut Params, at: &str, [input, output]: [i64; 2], stride: i64, relu: bool) -> [ConvNorm; 2] {
    let middle = 27 * input * output / (9 * input + 3 * output);
    [
        unit(params, &format!("{at}.0.0"), &format!("{at}.0.1"), [input, middle], Kernel::Space { size: 3, stride }, true),
        unit(params, &format!("{at}.0.3"), &format!("{at}.1"), [middle, output], Kernel::Time { size: 3, stride }, relu),
    ]
}

fn unit(params: &mut Params, conv: &str, norm: &str, [input, output]: [i64; 2], kernel: Kernel, relu: bool) -> ConvNorm {
    ConvNorm::new(params, &ConvShape { conv, norm, input, output, kernel, dimensions: 3, epsilon: EPSILON, relu })
}
