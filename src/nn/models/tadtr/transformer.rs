//! TadTR's transformer: deformable encoder, and a decoder that refines a segment per query layer by layer.

use std::f64::consts::PI;

use tch::{Device, Kind, Tensor};

use crate::config::TadTrConfig;
use crate::nn::layers::basic::{Linear, Mlp};
use crate::nn::layers::deformable::DeformableAttention;
use crate::nn::macs;
use crate::nn::params::{Init, Params};

/// Keeps logits of references finite.
const EDGE: f64 = 1e-5;
/// Bias of the first layer's width: references begin short.
const SHORT: f32 = -2.0;

/// Layer normalisation of the last dimension.
struct Norm {
    weight: Tensor,
    bias: Tensor,
}

impl Norm {
    fn new(params: &mut Params, path: &str, dim: i64) -> Self {
        Self {
            weight: params.add(&format!("{path}.weight"), &[dim], Init::Constant(1.0)),
            bias: params.add(&format!("{path}.bias"), &[dim], Init::Constant(0.0)),
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        x.layer_norm(self.weight.size(), Some(&self.weight), Some(&self.bias), 1e-5, false)
    }
}

/// Nothing at share 0, which is inference's.
fn drop(x: Tensor, share: f64) -> Tensor {
    if share > 0.0 { x.dropout(share, true) } else { x }
}

/// The two linear layers that end every transformer layer.
struct FeedForward {
    wide: Linear,
    narrow: Linear,
}

impl FeedForward {
    fn new(params: &mut Params, path: &str, config: &TadTrConfig) -> Self {
        let mut layer = |name: &str, input, output| {
            Linear::with(params, &format!("{path}.{name}"), [input, output], Init::XavierUniform, Linear::default_init(input))
        };
        Self { wide: layer("linear1", config.dim, config.feed_forward), narrow: layer("linear2", config.feed_forward, config.dim) }
    }

    fn forward(&self, x: &Tensor, dropout: f64) -> Tensor {
        drop(self.narrow.forward(&drop(self.wide.forward(x).relu(), dropout)), dropout)
    }
}

/// Dense attention of the queries to each other.
struct SelfAttention {
    weight: Tensor,
    bias: Tensor,
    output: Linear,
    heads: i64,
}

impl SelfAttention {
    /// `path.{in_proj_weight, in_proj_bias, out_proj}`; the three input projections are started as one matrix.
    fn new(params: &mut Params, path: &str, dim: i64, heads: i64) -> Self {
        Self {
            weight: params.add(&format!("{path}.in_proj_weight"), &[3 * dim, dim], Init::XavierUniform),
            bias: params.add(&format!("{path}.in_proj_bias"), &[3 * dim], Init::Constant(0.0)),
            output: Linear::new(params, &format!("{path}.out_proj"), dim, dim),
            heads,
        }
    }

    /// `[B, Q, C]`, whose positions are added to queries and keys.
    fn forward(&self, x: &Tensor, position: &Tensor, dropout: f64) -> Tensor {
        let (batch, queries, dim) = x.size3().expect("queries are [B, Q, C]");
        let project = |x: &Tensor, at: i64, parts: i64| {
            let weight = self.weight.narrow(0, at * dim, parts * dim);
            let y = x.linear(&weight, Some(self.bias.narrow(0, at * dim, parts * dim)));
            macs::layer("linear", &[batch, queries, dim, parts * dim], x, &weight, &y);
            y
        };
        let heads = |x: Tensor| x.view([batch, queries, self.heads, -1]).transpose(1, 2);
        let mut both = project(&(x + position), 0, 2).chunk(2, 2).into_iter().map(|part| heads(part.contiguous()));
        let (query, key) = (both.next().expect("two chunks"), both.next().expect("two chunks"));
        let value = heads(project(x, 2, 1));
        let scale = ((dim / self.heads) as f64).powf(-0.5);
        let factors = [batch, queries, queries, dim];
        let scores = (&query * scale).matmul(&key.transpose(2, 3));
        macs::product("attention scores", &factors, [&query, &key], &scores);
        let weights = drop(scores.softmax(-1, Kind::Float), dropout);
        let seen = weights.matmul(&value);
        macs::product("attention sums", &factors, [&weights, &value], &seen);
        self.output.forward(&seen.transpose(1, 2).reshape([batch, queries, dim]))
    }
}

struct EncoderLayer {
    attention: DeformableAttention,
    norm1: Norm,
    feed_forward: FeedForward,
    norm2: Norm,
}

impl EncoderLayer {
    fn new(params: &mut Params, path: &str, config: &TadTrConfig) -> Self {
        let TadTrConfig { dim, heads, attention_points, .. } = *config;
        Self {
            attention: DeformableAttention::new(params, &format!("{path}.self_attn"), dim, heads, attention_points),
            norm1: Norm::new(params, &format!("{path}.norm1"), dim),
            feed_forward: FeedForward::new(params, path, config),
            norm2: Norm::new(params, &format!("{path}.norm2"), dim),
        }
    }

    fn forward(&self, x: &Tensor, position: &Tensor, reference: &Tensor, padding: Option<&Tensor>, dropout: f64) -> Tensor {
        let read = self.attention.forward(&(x + position), x, reference, padding);
        let x = self.norm1.forward(&(x + drop(read, dropout)));
        self.norm2.forward(&(&x + self.feed_forward.forward(&x, dropout)))
    }
}

struct DecoderLayer {
    self_attention: SelfAttention,
    norm2: Norm,
    cross_attention: DeformableAttention,
    norm1: Norm,
    feed_forward: FeedForward,
    norm3: Norm,
    segment: Mlp,
}

impl DecoderLayer {
    fn new(params: &mut Params, index: usize, config: &TadTrConfig) -> Self {
        let TadTrConfig { dim, heads, attention_points, .. } = *config;
        let path = format!("transformer.decoder.layers.{index}");
        let segment = format!("segment_embed.{index}.layers");
        let default = Linear::default_init(dim);
        let mut hidden = |layer: usize| Linear::with(params, &format!("{segment}.{layer}"), [dim, dim], default, default);
        let hidden = [hidden(0), hidden(1)];
        let start = [0.0, if index == 0 { SHORT } else { 0.0 }];
        let last = Linear::with_bias(params, &format!("{segment}.2"), dim, Init::Constant(0.0), &start);
        Self {
            self_attention: SelfAttention::new(params, &format!("{path}.self_attn"), dim, heads),
            norm2: Norm::new(params, &format!("{path}.norm2"), dim),
            cross_attention: DeformableAttention::new(params, &format!("{path}.cross_attn"), dim, heads, attention_points),
            norm1: Norm::new(params, &format!("{path}.norm1"), dim),
            feed_forward: FeedForward::new(params, &path, config),
            norm3: Norm::new(params, &format!("{path}.norm3"), dim),
            segment: Mlp::of(hidden.into_iter().chain([last]).collect()),
        }
    }

    /// `x` `[B, Q, C]` reads `memory` `[B, T, C]` around `reference`, in shares of T.
    fn forward(&self, x: &Tensor, position: &Tensor, reference: &Tensor, memory: &Memory, dropout: f64) -> Tensor {
        let x = self.norm2.forward(&(x + drop(self.self_attention.forward(x, position, dropout), dropout)));
        let read = self.cross_attention.forward(&(&x + position), &memory.cells, reference, memory.padding.as_ref());
        let x = self.norm1.forward(&(&x + drop(read, dropout)));
        self.norm3.forward(&(&x + self.feed_forward.forward(&x, dropout)))
    }

    /// The reference `[B or 1, Q, 1 or 2]` refined by the state `[B, Q, C]` to (centre, width) `[B, Q, 2]`. A reference
    /// without a width leaves the width to the layer.
    fn refine(&self, state: &Tensor, reference: &Tensor) -> Tensor {
        let delta = self.segment.forward(state);
        let logit = logit(reference);
        let logit = if reference.size()[2] == 1 { logit.constant_pad_nd([0, 1]) } else { logit };
        (delta + logit).sigmoid()
    }
}

fn logit(x: &Tensor) -> Tensor {
    let rest: Tensor = 1.0 - x;
    (x.clamp(EDGE, 1.0) / rest.clamp(EDGE, 1.0)).log()
}

/// The encoded input.
pub struct Memory {
    /// `[B, T, C]`.
    pub cells: Tensor,
    /// Sine positions `[B or 1, T, C]`.
    pub position: Tensor,
    /// True where the input is padding, `[B, T]`; the published use knows no padding.
    pub padding: Option<Tensor>,
    /// Share of the input that is not padding, `[B, 1, 1]`.
    valid: Option<Tensor>,
}

/// What the decoder's layers say of every query.
pub struct Decoded {
    /// States `[B, Q, C]`.
    pub states: Vec<Tensor>,
    /// (centre, width) `[B, Q, 2]` as shares of what is not padding.
    pub segments: Vec<Tensor>,
}

/// Encoder, queries and decoder.
pub struct Transformer {
    level: Tensor,
    encoder: Vec<EncoderLayer>,
    queries: Tensor,
    centre: Linear,
    decoder: Vec<DecoderLayer>,
}

impl Transformer {
    /// All of `transformer.*`, `query_embed` and `segment_embed.*`.
    pub fn new(params: &mut Params, config: &TadTrConfig) -> Self {
        let dim = config.dim;
        params.alias("transformer.decoder.segment_embed", "segment_embed");
        Self {
            level: params.add("transformer.level_embed", &[1, dim], Init::Normal(1.0)),
            encoder: (0..config.encoder_layers)
                .map(|i| EncoderLayer::new(params, &format!("transformer.encoder.layers.{i}"), config))
                .collect(),
            queries: params.add("query_embed.weight", &[config.queries, 2 * dim], Init::Normal(1.0)),
            centre: Linear::new(params, "transformer.reference_points", dim, 1),
            decoder: (0..config.decoder_layers).map(|i| DecoderLayer::new(params, i, config)).collect(),
        }
    }

    /// Encodes cells `[B, T, C]`.
    pub fn encode(&self, cells: Tensor, padding: Option<&Tensor>, dropout: f64) -> Memory {
        let (_, time, dim) = cells.size3().expect("cells are [B, T, C]");
        let position = sine(time, dim, padding, cells.device());
        let placed = &position + &self.level;
        let reference = (Tensor::arange(time, (Kind::Float, cells.device())) + 0.5).view([1, -1, 1]) / time as f64;
        let layer = |x: Tensor, layer: &EncoderLayer| layer.forward(&x, &placed, &reference, padding, dropout);
        let cells = self.encoder.iter().fold(cells, layer);
        let valid = padding.map(|p| p.logical_not().to_kind(Kind::Float).mean_dim(1, false, Kind::Float).view([-1, 1, 1]));
        Memory { cells, position, padding: padding.map(Tensor::shallow_clone), valid }
    }

    /// Decodes all queries.
    pub fn decode(&self, memory: &Memory, dropout: f64) -> Decoded {
        let (batch, dim) = (memory.cells.size()[0], memory.cells.size()[2]);
        let queries = self.queries.unsqueeze(0);
        let (position, content) = (queries.narrow(2, 0, dim), queries.narrow(2, dim, dim));
        let mut reference = self.centre.forward(&position).sigmoid();
        let mut state = content.expand([batch, -1, -1], false);
        let (mut states, mut segments) = (Vec::new(), Vec::new());
        for layer in &self.decoder {
            let seen = memory.valid.as_ref().map_or_else(|| reference.shallow_clone(), |valid| &reference * valid);
            state = layer.forward(&state, &position, &seen, memory, dropout);
            let segment = layer.refine(&state, &reference);
            reference = segment.detach();
            states.push(state.shallow_clone());
            segments.push(segment);
        }
        Decoded { states, segments }
    }
}

/// Sines and cosines of the place among the cells that are not padding, `[B, T, C]`; `[1, T, C]` without padding.
fn sine(time: i64, dim: i64, padding: Option<&Tensor>, device: Device) -> Tensor {
    let real = padding.map_or_else(|| Tensor::ones([1, time], (Kind::Float, device)), |p| p.logical_not().to_kind(Kind::Float));
    let place = real.cumsum(1, Kind::Float);
    let angle = &place / (place.narrow(1, time - 1, 1) + 1e-6) * (2.0 * PI);
    let period: Vec<f32> = (0..dim / 2).map(|pair| 10_000f32.powf((2 * pair) as f32 / dim as f32)).collect();
    let angle = angle.unsqueeze(-1) / Tensor::from_slice(&period).to_device(device);
    Tensor::stack(&[angle.sin(), angle.cos()], -1).flatten(2, 3)
}
