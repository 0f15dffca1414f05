// Switches of libtorch that tch does not bind. The C side of src/nn/precision.rs.

#include <cstring>

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>

extern "C" {

// Whether matrix products and convolutions on a CUDA device may round their factors to TF32. False when libtorch refuses.
bool etalon_allow_tf32(bool allowed) noexcept {
  try {
    at::globalContext().setAllowTF32CuBLAS(allowed);
    at::globalContext().setAllowTF32CuDNN(allowed);
    return true;
  } catch (...) {
    return false;
  }
}

// Whether operators must give the same bits every time; one that cannot says so on standard error.
bool etalon_deterministic(bool asked) noexcept {
  try {
    at::globalContext().setDeterministicAlgorithms(asked, /*warn_only=*/true);
    at::globalContext().setDeterministicCuDNN(asked);
    return true;
  } catch (...) {
    return false;
  }
}

// Pauses or resumes autocast on this thread; returns whether it was on.
bool etalon_autocast_set(bool cuda, bool on) noexcept {
  const auto device = cuda ? at::kCUDA : at::kCPU;
  try {
    const bool before = at::autocast::is_autocast_enabled(device);
    at::autocast::set_autocast_enabled(device, on);
    return before;
  } catch (...) {
    return false;
  }
}

// Opens (or closes) bfloat16 autocast on this thread, for CUDA devices or the CPU.
bool etalon_autocast(bool cuda, bool open) noexcept {
  try {
    const auto device = cuda ? at::kCUDA : at::kCPU;
    if (open) {
      at::autocast::increment_nesting();
      at::autocast::set_autocast_dtype(device, at::kBFloat16);
    } else if (at::autocast::decrement_nesting() == 0) {
      // Copies of the weights, which an update is about to change.
      at::autocast::clear_cache();
    }
    at::autocast::set_autocast_enabled(device, open);
    return true;
  } catch (...) {
    return false;
  }
}
}
