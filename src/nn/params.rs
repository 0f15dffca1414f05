//! Parameters by their upstream names: initialised from a random stream of our own (so that the device does not matter),
//! saved and loaded as safetensors.

use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use tch::{Device, Kind, Tensor};

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
}

/// The trainable tensors of a model, in construction order.
pub struct Params {
    entries: Vec<(String, Tensor)>,
    rng: Stream,
    device: Device,
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
    /// Names or shapes differ.
    #[error("weights in {path} do not fit this model: missing {missing:?}, unexpected {unexpected:?}, other shape {misshapen:?}")]
    Mismatch {
        /// The file.
        path: String,
        /// In the model, not in the file.
        missing: Vec<String>,
        /// In the file, not in the model.
        unexpected: Vec<String>,
        /// In both with different shapes.
        misshapen: Vec<String>,
    },
    /// File trouble.
    #[error(transparent)]
    File(#[from] fsio::Error),
}

impl Params {
    /// No parameters yet; those added draw from the stream (seed, "init").
    pub fn new(seed: u64, device: Device) -> Self {
        Self { entries: Vec::new(), rng: Stream::new(seed, "init"), device }
    }

    /// Adds a trainable tensor. The returned handle shares storage with the stored one.
    pub fn add(&mut self, name: &str, size: &[i64], init: Init) -> Tensor {
        let count = size.iter().product::<i64>() as usize;
        let bound = match init {
            Init::Constant(_) => 0.0,
            Init::Uniform(bound) => bound,
            Init::XavierUniform => {
                let receptive: i64 = size[2..].iter().product();
                (6.0 / ((size[0] + size[1]) * receptive) as f64).sqrt()
            }
        };
        let values: Vec<f32> = match init {
            Init::Constant(value) => vec![value as f32; count],
            _ => (0..count).map(|_| ((2.0 * self.rng.uniform_f32() - 1.0) as f64 * bound) as f32).collect(),
        };
        let tensor = Tensor::from_slice(&values).view(size).to_device(self.device).set_requires_grad(true);
        self.entries.push((name.to_owned(), tensor.shallow_clone()));
        tensor
    }

    /// Names and tensors in construction order.
    pub fn entries(&self) -> &[(String, Tensor)] {
        &self.entries
    }

    /// Number of trainable values.
    pub fn count(&self) -> u64 {
        self.entries.iter().map(|(_, t)| t.numel() as u64).sum()
    }

    /// Overwrites all tensors with the given ones; `origin` names them in errors.
    ///
    /// # Errors
    /// Missing or unexpected names, other shapes.
    pub fn assign(&self, origin: &str, given: Vec<(String, Tensor)>) -> Result<(), Error> {
        let find = |name: &str| given.iter().find(|(n, _)| n == name).map(|(_, t)| t);
        let names = |keep: &dyn Fn(&str, &Tensor) -> bool| -> Vec<String> {
            self.entries.iter().filter(|(n, t)| keep(n, t)).map(|(n, _)| n.clone()).collect()
        };
        let missing = names(&|n, _| find(n).is_none());
        let misshapen = names(&|n, t| find(n).is_some_and(|g| g.size() != t.size()));
        let known = |name: &str| self.entries.iter().any(|(n, _)| n == name);
        let unexpected: Vec<String> = given.iter().filter(|(n, _)| !known(n)).map(|(n, _)| n.clone()).collect();
        if !(missing.is_empty() && misshapen.is_empty() && unexpected.is_empty()) {
            return Err(Error::Mismatch { path: origin.to_owned(), missing, unexpected, misshapen });
        }
        tch::no_grad(|| {
            for (name, tensor) in &self.entries {
                let source = find(name).expect("no name is missing");
                tensor.shallow_clone().copy_(&source.to_kind(Kind::Float));
            }
        });
        Ok(())
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
