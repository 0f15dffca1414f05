//! Parameters by their upstream names: initialised from a random stream of our own (so that the device does not matter),
//! saved and loaded as safetensors.
//!
//! Beside the trained tensors there may be frozen ones and buffers (the running statistics of batch norms): both are saved and
//! loaded with the others, and no optimiser sees them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use tch::{Device, Kind, Tensor};

use super::weights::misfit::{Misfit, Misshapen, recognise};
use crate::base::{Stream, fsio};

/// How a parameter starts.
#[derive(Clone, Copy, Debug)]
pub enum Init {
    /// Every element the same.
    Constant(f64),
    /// Uniform within ±bound.
    Uniform(f64),
    /// Uniform within ±√(6 / (fan_in + fan_out)), fans as PyTorch counts them (a grouped convolution's fan_out uses all
    /// output channels).
    XavierUniform,
    /// Normal with this deviation around 0.
    Normal(f64),
}

impl Init {
    fn draw(self, stream: &mut Stream, size: &[i64], count: usize) -> Vec<f32> {
        let mut uniform = |bound: f64| (0..count).map(|_| ((2.0 * stream.uniform_f32() - 1.0) as f64 * bound) as f32).collect();
        match self {
            Self::Constant(value) => vec![value as f32; count],
            Self::Uniform(bound) => uniform(bound),
            Self::XavierUniform => {
                let receptive: i64 = size[2..].iter().product();
                uniform((6.0 / ((size[0] + size[1]) * receptive) as f64).sqrt())
            }
            Self::Normal(deviation) => (0..count).map(|_| (deviation * stream.normal()) as f32).collect(),
        }
    }
}

/// The tensors of a model, in construction order.
pub struct Params {
    entries: Vec<(String, Tensor)>,
    frozen: Vec<(String, Tensor)>,
    buffers: Vec<(String, Tensor)>,
    plain: BTreeSet<String>,
    aliases: Vec<(String, String)>,
    values: Values,
    device: Device,
}

/// Where the values of an added tensor come from.
enum Values {
    /// This stream.
    Drawn(Box<Stream>),
    /// The tensor of that name which another model has already.
    Present(BTreeMap<String, Tensor>),
}

/// Weights that do not fit the model.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be parsed.
    #[error("{path} is not a readable safetensors file; it may be truncated: {reason}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the parser said.
        reason: String,
    },
    /// The file is no checkpoint that can be read.
    #[error("{path} holds no weights that can be used: {reason}")]
    Checkpoint {
        /// The file.
        path: String,
        /// What it is instead, and what to do.
        reason: String,
    },
    /// Names or shapes differ.
    #[error("weights in {path} do not fit this model: {misfit}")]
    Mismatch {
        /// The file.
        path: String,
        /// What differs.
        misfit: Box<Misfit>,
    },
    /// A weight is no number.
    #[error("weights in {path}: {name} holds NaN or infinity; take a checkpoint from before the training diverged")]
    NotFinite {
        /// The file.
        path: String,
        /// The tensor.
        name: String,
    },
    /// File trouble.
    #[error(transparent)]
    File(#[from] fsio::Error),
}

impl Params {
    /// No parameters yet; those added draw from the stream (seed, "init").
    pub fn new(seed: u64, device: Device) -> Self {
        Self::drawing(Stream::new(seed, "init"), device)
    }

    /// No parameters yet; those added draw from `stream`.
    pub fn drawing(stream: Stream, device: Device) -> Self {
        Self::holding(Values::Drawn(Box::new(stream)), device)
    }

    fn holding(values: Values, device: Device) -> Self {
        let (entries, frozen, buffers) = (Vec::new(), Vec::new(), Vec::new());
        Self { entries, frozen, buffers, plain: BTreeSet::new(), aliases: Vec::new(), values, device }
    }

    /// No parameters yet; those added are the tensors that `self` has under the same names, so that a second network over the
    /// same weights can be built. What is frozen here is frozen there.
    pub fn again(&self) -> Self {
        let present = self.tensors().map(|(name, tensor)| (name.to_owned(), tensor.shallow_clone())).collect();
        Self::holding(Values::Present(present), self.device)
    }

    /// Adds a trainable tensor. The returned handle shares storage with the stored one.
    ///
    /// # Panics
    /// After [`Params::again`], for a name or a size that the first network does not have.
    pub fn add(&mut self, name: &str, size: &[i64], init: Init) -> Tensor {
        let count = size.iter().product::<i64>() as usize;
        let values = match &mut self.values {
            Values::Drawn(stream) => init.draw(stream, size, count),
            Values::Present(_) => Vec::new(),
        };
        self.add_values(name, size, &values)
    }

    /// As [`Params::add`], with the values given.
    pub fn add_values(&mut self, name: &str, size: &[i64], values: &[f32]) -> Tensor {
        let tensor = self.tensor(name, size, |device| Tensor::from_slice(values).view(size).to_device(device).set_requires_grad(true));
        let kept = if tensor.requires_grad() { &mut self.entries } else { &mut self.frozen };
        kept.push((name.to_owned(), tensor.shallow_clone()));
        tensor
    }

    /// Adds a tensor that is no parameter, such as a running statistic, filled with `value`. The returned handle shares storage
    /// with the stored one.
    pub fn add_buffer(&mut self, name: &str, size: &[i64], value: f64) -> Tensor {
        let tensor = self.tensor(name, size, |device| Tensor::full(size, value, (Kind::Float, device)));
        self.buffers.push((name.to_owned(), tensor.shallow_clone()));
        tensor
    }

    fn tensor(&self, name: &str, size: &[i64], make: impl FnOnce(Device) -> Tensor) -> Tensor {
        let Values::Present(present) = &self.values else { return make(self.device) };
        let tensor = present.get(name).unwrap_or_else(|| panic!("{name} is not a tensor of the network that is there already"));
        assert_eq!(tensor.size(), size, "{name} has another size in the network that is there already");
        tensor.shallow_clone()
    }

    /// Freezes the trainable tensors whose names satisfy `which`: they keep their values and ask for no gradient.
    pub fn freeze(&mut self, which: impl Fn(&str) -> bool) {
        for (name, tensor) in std::mem::take(&mut self.entries) {
            if which(&name) {
                self.frozen.push((name, tensor.set_requires_grad(false)));
            } else {
                self.entries.push((name, tensor));
            }
        }
    }

    /// As [`Params::add`], for what an optimiser with decay groups leaves undecayed: biases, norms, scales.
    pub fn add_plain(&mut self, name: &str, size: &[i64], init: Init) -> Tensor {
        self.plain.insert(name.to_owned());
        self.add(name, size, init)
    }

    /// Whether the tensor was added by [`Params::add_plain`].
    pub fn is_plain(&self, name: &str) -> bool {
        self.plain.contains(name)
    }

    /// Upstream registers the tensors under `name.` a second time under `alias.`: files may hold either or both.
    pub fn alias(&mut self, alias: &str, name: &str) {
        self.aliases.push((format!("{alias}."), format!("{name}.")));
    }

    /// Where new tensors are.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Names and trainable tensors in construction order.
    pub fn entries(&self) -> &[(String, Tensor)] {
        &self.entries
    }

    /// Number of trainable values.
    pub fn count(&self) -> u64 {
        self.entries.iter().map(|(_, t)| t.numel() as u64).sum()
    }

    /// Names and tensors of the weights: the trainable ones, then the frozen ones.
    pub fn weights(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.entries.iter().chain(&self.frozen).map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Names and tensors of everything there is: the weights, then the buffers.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.weights().chain(self.buffers.iter().map(|(name, tensor)| (name.as_str(), tensor)))
    }

    /// Number of values of the weights, frozen ones included.
    pub fn size(&self) -> u64 {
        self.weights().map(|(_, t)| t.numel() as u64).sum()
    }

    /// Overwrites all tensors with the given ones; `origin` names them in errors.
    ///
    /// # Errors
    /// Missing or unexpected names, other shapes.
    pub fn assign(&self, origin: &str, given: Vec<(String, Tensor)>) -> Result<(), Error> {
        let given: BTreeMap<String, Tensor> = given.into_iter().map(|(name, tensor)| (self.canonical(name), tensor)).collect();
        let find = |name: &str| given.get(name);
        let misfit = self.misfit(&given);
        if !misfit.is_none() {
            return Err(Error::Mismatch { path: origin.to_owned(), misfit: Box::new(misfit) });
        }
        tch::no_grad(|| {
            for (name, tensor) in self.tensors() {
                let source = find(name).expect("no name is missing");
                tensor.shallow_clone().copy_(&source.to_kind(Kind::Float));
            }
        });
        Ok(())
    }

    fn misfit(&self, given: &BTreeMap<String, Tensor>) -> Misfit {
        let mut misfit = Misfit::default();
        for (name, tensor) in self.tensors() {
            match given.get(name) {
                None => misfit.missing.push(name.to_owned()),
                Some(other) if other.size() != tensor.size() => {
                    misfit.misshapen.push(Misshapen { name: name.to_owned(), file: other.size(), model: tensor.size() });
                }
                Some(_) => {}
            }
        }
        let known: BTreeSet<&str> = self.tensors().map(|(name, _)| name).collect();
        misfit.unexpected = given.keys().filter(|name| !known.contains(name.as_str())).cloned().collect();
        let theirs = recognise(given.keys().map(String::as_str));
        misfit.looks_like = theirs.filter(|_| theirs != recognise(known.iter().copied()));
        misfit
    }

    fn canonical(&self, name: String) -> String {
        let alias = self.aliases.iter().find_map(|(alias, to)| Some(format!("{to}{}", name.strip_prefix(alias)?)));
        alias.unwrap_or(name)
    }
}

/// Writes named tensors (float or 64-bit integer) as one safetensors file, whole or not at all.
///
/// # Errors
/// The file cannot be written.
pub fn save_tensors<'a>(path: &Path, tensors: impl Iterator<Item = (&'a str, &'a Tensor)>) -> Result<(), Error> {
    let tensors: Vec<(&str, Tensor)> = tensors.map(|(n, t)| (n, t.detach().to_device(Device::Cpu).contiguous())).collect();
    let views = tensors.iter().map(|(name, tensor)| {
        let dtype = match tensor.kind() {
            Kind::Float => Dtype::F32,
            Kind::Int64 => Dtype::I64,
            other => panic!("{name} is of kind {other:?}, which no weight or optimiser state has"),
        };
        let shape = tensor.size().iter().map(|&n| n as usize).collect();
        // SAFETY: a contiguous CPU tensor is that many bytes, alive as long as `tensors`.
        let bytes =
            unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast::<u8>(), tensor.numel() * tensor.kind().elt_size_in_bytes()) };
        (*name, TensorView::new(dtype, shape, bytes).expect("the shape is the tensor's"))
    });
    let bytes = safetensors::serialize(views, None).expect("names are distinct and views are valid");
    Ok(fsio::replace(path, &bytes)?)
}

/// Reads every tensor of a safetensors file.
///
/// # Errors
/// The file is missing, truncated or no safetensors file.
pub fn read_tensors(path: &Path) -> Result<Vec<(String, Tensor)>, Error> {
    if let Err(source) = std::fs::metadata(path) {
        return Err(fsio::Error::wrap("read", path)(source).into());
    }
    Tensor::read_safetensors(path).map_err(|e| Error::Unreadable { path: path.display().to_string(), reason: e.to_string() })
}
