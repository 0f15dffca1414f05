//! What crosses between host and device. Networks and the training loop move values through here alone, so that a test can
//! count how often the host waits for a device.

use std::cell::Cell;

use tch::{Device, Kind, Tensor};

use super::lists;

thread_local! {
    static READS: Cell<u64> = const { Cell::new(0) };
}

/// How often this thread has read values of tensors so far.
pub fn reads() -> u64 {
    READS.get()
}

/// The values of a tensor in its logical order, read once everything before them is computed.
pub fn read(tensor: &Tensor) -> Vec<f32> {
    READS.set(READS.get() + 1);
    Vec::try_from(tensor.detach().to_device(Device::Cpu).to_kind(Kind::Float).reshape([-1])).expect("a tensor of numbers")
}

/// The values of an integer tensor, as [`read`].
pub fn read_integers(tensor: &Tensor) -> Vec<i64> {
    READS.set(READS.get() + 1);
    Vec::try_from(tensor.to_device(Device::Cpu).to_kind(Kind::Int64).reshape([-1])).expect("a tensor of integers")
}

/// The values of all tensors on one device one after another, in one reading.
pub fn read_numbers(tensors: &[&Tensor]) -> Vec<f64> {
    if tensors.is_empty() {
        return Vec::new();
    }
    READS.set(READS.get() + 1);
    let flat: Vec<Tensor> = tensors.iter().map(|t| t.detach().reshape([-1])).collect();
    Vec::try_from(Tensor::cat(&flat, 0).to_device(Device::Cpu).to_kind(Kind::Double)).expect("numbers")
}

/// The tensor on `device`. To a CUDA device it goes through pinned memory, without waiting for what that device still has to
/// do.
pub fn send(tensor: &Tensor, device: Device) -> Tensor {
    if device.is_cuda() && tensor.device() == Device::Cpu {
        return lists::pinned(tensor).to_device_(device, tensor.kind(), true, false);
    }
    tensor.to_device(device)
}

/// As [`send`], of a list of numbers with a shape.
pub fn send_slice<T: tch::kind::Element>(values: &[T], shape: &[i64], device: Device) -> Tensor {
    send(&Tensor::from_slice(values).view(shape), device)
}
