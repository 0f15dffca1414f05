// Operators of libtorch that tch does not bind, above all those over whole lists of tensors: a few launches on a device, one pass
// per tensor on the CPU. The C side of src/nn/lists.rs.

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/_foreach_lerp.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>

#include "attempt.h"

namespace {

// tch's handles.
using Handle = at::Tensor*;

std::vector<at::Tensor> list(Handle const* handles, size_t count) {
  std::vector<at::Tensor> tensors;
  tensors.reserve(count);
  for (size_t i = 0; i < count; ++i) tensors.push_back(*handles[i]);
  return tensors;
}

void hand_out(const std::vector<at::Tensor>& tensors, Handle* handles) {
  for (size_t i = 0; i < tensors.size(); ++i) handles[i] = new at::Tensor(tensors[i]);
}

}  // namespace

extern "C" {

struct EtalonAdam {
  double lr, beta1, beta2, weight_decay, epsilon, step;
  bool decoupled;
};

// One update of Adam (or of AdamW, `decoupled`) of parameters that have made as many steps, `step` of them with this one. The
// gradients may have any strides; the others are contiguous. Rate and count are those of the scalar tensors `lr` and `step` where
// they are given.
char* etalon_fused_adam(
    Handle const* parameters, Handle const* gradients, Handle const* means, Handle const* squares, size_t count,
    const EtalonAdam* adam, Handle lr, Handle step) noexcept {
  return attempt([&] {
    if (count == 0) return;
    const auto of = list(parameters, count);
    auto grads = list(gradients, count);
    for (auto& grad : grads) grad = grad.contiguous();
    const auto now = step != nullptr ? *step : at::full({}, adam->step, of[0].options().requires_grad(false));
    const std::vector<at::Tensor> steps(count, now);
    const auto update = [&](const auto& fused) {
      const auto with = [&](const auto& rate) {
        fused(of, grads, list(means, count), list(squares, count), at::TensorList{}, steps, rate, adam->beta1, adam->beta2,
              adam->weight_decay, adam->epsilon, false, false, std::nullopt, std::nullopt);
      };
      if (lr != nullptr) {
        with(*lr);
      } else {
        with(adam->lr);
      }
    };
    if (adam->decoupled) {
      update([](auto&&... arguments) { at::_fused_adamw_(arguments...); });
    } else {
      update([](auto&&... arguments) { at::_fused_adam_(arguments...); });
    }
  });
}

// The L2 norm of every tensor, as scalars.
char* etalon_foreach_norm(Handle const* tensors, size_t count, Handle* norms) noexcept {
  return attempt([&] { hand_out(at::_foreach_norm(list(tensors, count), 2), norms); });
}

// Every tensor times a scalar tensor.
char* etalon_foreach_mul(Handle const* tensors, size_t count, Handle factor, Handle* products) noexcept {
  return attempt([&] { hand_out(at::_foreach_mul(list(tensors, count), *factor), products); });
}

// The tensor in page-locked memory, from which a CUDA device fetches by itself.
char* etalon_pin(Handle tensor, Handle* pinned) noexcept {
  return attempt([&] { hand_out({tensor->pin_memory()}, pinned); });
}

// Moves every tensor towards its like in `ends` by a share of the way.
char* etalon_foreach_lerp(Handle const* tensors, Handle const* ends, size_t count, double share) noexcept {
  return attempt([&] { at::_foreach_lerp_(list(tensors, count), list(ends, count), share); });
}
}
