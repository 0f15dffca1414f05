//! Convolution, normalisation, recurrence and perceptron blocks, named by the upstream state-dict keys.

use tch::Tensor;

use crate::nn::formulation::Formulation;
use crate::nn::macs;
use crate::nn::params::{Init, Params};
use crate::nn::precision::cast;

/// Conv1d over `[B, C, T]` with "same" padding.
pub struct Conv {
    weight: Tensor,
    bias: Option<Tensor>,
    groups: i64,
}

/// Shape of a [`Conv`].
#[derive(Clone, Copy)]
pub struct ConvShape {
    /// Channels in.
    pub input: i64,
    /// Channels out.
    pub output: i64,
    /// Odd kernel size.
    pub kernel: i64,
    /// Groups.
    pub groups: i64,
    /// Whether a bias is added.
    pub bias: bool,
}

impl Conv {
    /// `path.weight` and, where asked for, `path.bias`; Xavier-uniform and zero.
    pub fn new(params: &mut Params, path: &str, shape: ConvShape) -> Self {
        let size = [shape.output, shape.input / shape.groups, shape.kernel];
        Self {
            weight: params.add(&format!("{path}.weight"), &size, Init::XavierUniform),
            bias: shape.bias.then(|| params.add(&format!("{path}.bias"), &[shape.output], Init::Constant(0.0))),
            groups: shape.groups,
        }
    }

    /// `[B, C, T]` → `[B, C', T]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let size = x.size();
        let y = if self.narrows() && Formulation::of(x.device()) == Formulation::Device {
            self.as_product(x)
        } else {
            x.conv1d(&self.weight, self.bias.as_ref(), 1, self.weight.size()[2] / 2, 1, self.groups)
        };
        macs::layer("conv1d", &[size[0], size[2], self.weight.numel() as i64], x, &self.weight, &y);
        y
    }
}

impl Conv {
    /// Groups of more than one cell that give fewer channels than they take: of these cuDNN's gradient in single precision takes
    /// 4 GB of working memory and 10 ms at ETAD's size (H200, cuDNN 9, whatever the algorithm asked for).
    fn narrows(&self) -> bool {
        let size = self.weight.size();
        self.groups > 1 && size[2] > 1 && size[0] / self.groups < size[1]
    }

    /// The same as one product per group.
    fn as_product(&self, x: &Tensor) -> Tensor {
        let ([outputs, inputs, kernel], groups) = (self.weight.size3().map(|(o, i, k)| [o, i, k]).expect("three axes"), self.groups);
        let (batch, time) = (x.size()[0], x.size()[2]);
        // [B, C, T, k] -> [G, B * T, C / G * k]
        let seen = x.constant_pad_nd([kernel / 2, kernel / 2]).unfold(2, kernel, 1);
        let seen = seen.view([batch, groups, inputs, time, kernel]).permute([1, 0, 3, 2, 4]).reshape([groups, batch * time, -1]);
        let weight = self.weight.view([groups, outputs / groups, -1]).transpose(1, 2);
        let y = seen.bmm(&weight).view([groups, batch, time, -1]).permute([1, 0, 3, 2]).reshape([batch, outputs, time]);
        match &self.bias {
            Some(bias) => y + bias.unsqueeze(1),
            None => y,
        }
    }
}

/// Conv1d (4 groups, no bias) → GroupNorm(16) → ReLU.
pub struct ConvNormRelu {
    conv: Conv,
    scale: Tensor,
    shift: Tensor,
}

impl ConvNormRelu {
    /// `path.0` is the convolution, `path.1` the norm.
    pub fn new(params: &mut Params, path: &str, input: i64, output: i64, kernel: i64) -> Self {
        Self {
            conv: Conv::new(params, &format!("{path}.0"), ConvShape { input, output, kernel, groups: 4, bias: false }),
            scale: params.add(&format!("{path}.1.weight"), &[output], Init::Constant(1.0)),
            shift: params.add(&format!("{path}.1.bias"), &[output], Init::Constant(0.0)),
        }
    }

    /// `[B, C, T]` → `[B, C', T]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        self.conv.forward(x).group_norm(16, Some(&self.scale), Some(&self.shift), 1e-5, false).relu()
    }
}

/// One-layer unidirectional LSTM with zero initial state.
pub struct Lstm {
    weights: Vec<Tensor>,
    hidden: i64,
}

impl Lstm {
    /// `path.{weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0}`, uniform within ±1/√hidden.
    pub fn new(params: &mut Params, path: &str, hidden: i64) -> Self {
        let init = Init::Uniform(1.0 / (hidden as f64).sqrt());
        let mut add = |name: &str, size: &[i64]| params.add(&format!("{path}.{name}"), size, init);
        let weights = vec![
            add("weight_ih_l0", &[4 * hidden, hidden]),
            add("weight_hh_l0", &[4 * hidden, hidden]),
            add("bias_ih_l0", &[4 * hidden]),
            add("bias_hh_l0", &[4 * hidden]),
        ];
        if params.device().is_cuda() {
            // One after another in memory, as cuDNN wants them: otherwise it copies them together at every call.
            const LSTM: i64 = 2;
            let _ = tch::no_grad(|| Tensor::internal_cudnn_rnn_flatten_weight(&weights, 4, hidden, LSTM, hidden, 0, 1, false, false));
        }
        Self { weights, hidden }
    }

    /// `[T, B, C]` → `[T, B, C]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let zero = Tensor::zeros([1, x.size()[1], self.hidden], (x.kind(), x.device()));
        let state = [zero.shallow_clone(), zero];
        // In training mode also at inference: cuDNN differentiates nothing else, and without dropout there is no difference.
        let y = x.lstm(&state, &self.weights, true, 1, 0.0, true, false, false).0;
        // Input and state meet their four gates each.
        macs::layer("lstm", &[x.size()[0], x.size()[1], 8 * self.hidden, self.hidden], x, &self.weights[0], &y);
        y
    }
}

/// Fully connected layer.
pub struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    /// `path.weight` `[output, input]` and `path.bias`; Xavier-uniform and zero.
    pub fn new(params: &mut Params, path: &str, input: i64, output: i64) -> Self {
        Self {
            weight: params.add(&format!("{path}.weight"), &[output, input], Init::XavierUniform),
            bias: params.add(&format!("{path}.bias"), &[output], Init::Constant(0.0)),
        }
    }

    /// As [`Linear::new`], started in another way.
    pub fn with(params: &mut Params, path: &str, [input, output]: [i64; 2], weight: Init, bias: Init) -> Self {
        let weight = params.add(&format!("{path}.weight"), &[output, input], weight);
        Self { weight, bias: params.add(&format!("{path}.bias"), &[output], bias) }
    }

    /// As [`Linear::with`], with the bias given.
    pub fn with_bias(params: &mut Params, path: &str, input: i64, weight: Init, bias: &[f32]) -> Self {
        let output = bias.len() as i64;
        let weight = params.add(&format!("{path}.weight"), &[output, input], weight);
        Self { weight, bias: params.add_values(&format!("{path}.bias"), &[output], bias) }
    }

    /// PyTorch's start of a layer with so many inputs: uniform within ±1/√input, the bias too.
    pub fn default_init(input: i64) -> Init {
        Init::Uniform(1.0 / (input as f64).sqrt())
    }

    /// `[…, input]` → `[…, output]`, in the numeric type of `x`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        self.product(x, &cast(&self.weight, x.kind()))
    }

    /// With this layer's `weight` in another form. Every value read meets every output.
    fn product(&self, x: &Tensor, weight: &Tensor) -> Tensor {
        let y = x.linear(weight, Some(cast(&self.bias, x.kind())));
        macs::layer("linear", &[x.numel() as i64, self.weight.size()[0]], x, &self.weight, &y);
        y
    }

    /// As [`Linear::forward`] for an `x` `[N, R, C]` whose weight columns are channel-major (`c * R + r`): the small weight
    /// is reordered instead of the large input.
    pub fn forward_bins_first(&self, x: &Tensor) -> Tensor {
        let (bins, channels) = (x.size()[1], x.size()[2]);
        let weight = cast(&self.weight, x.kind()).view([-1, channels, bins]).transpose(1, 2).reshape([-1, bins * channels]);
        self.product(&x.flatten(1, 2), &weight)
    }
}

/// Linear layers with ReLU between them; layer `j` is `path.{2j}`.
pub struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    /// Layers between consecutive `widths`.
    pub fn new(params: &mut Params, path: &str, widths: &[i64]) -> Self {
        let layer = |(j, pair): (usize, &[i64])| Linear::new(params, &format!("{path}.{}", 2 * j), pair[0], pair[1]);
        Self { layers: widths.windows(2).enumerate().map(layer).collect() }
    }

    /// The given layers.
    pub fn of(layers: Vec<Linear>) -> Self {
        Self { layers }
    }

    /// `[N, first]` → `[N, last]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        self.after_first(self.layers[0].forward(x))
    }

    /// As [`Mlp::forward`] for `[N, R, C]` input with channel-major weights.
    pub fn forward_bins_first(&self, x: &Tensor) -> Tensor {
        self.after_first(self.layers[0].forward_bins_first(x))
    }

    fn after_first(&self, mut x: Tensor) -> Tensor {
        for layer in &self.layers[1..] {
            x = layer.forward(&x.relu_());
        }
        x
    }
}
