// What libtorch does while a watch is open on a thread: every operator it dispatches, and what its allocators hand out.
// Autograd's own threads inherit both. The C side of src/nn/watch.rs.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

#include <ATen/record_function.h>
#include <c10/core/Allocator.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

namespace {

// `arguments` is a list of (kind, length, values…): see `etalon_watch_open`.
using Seen = void (*)(void* context, const char* name, const int64_t* arguments, size_t length);

enum Kind : int64_t { OTHER = 0, TENSOR = 1, NUMBERS = 2 };

void encode(const c10::IValue& value, std::vector<int64_t>& into) {
  const auto put = [&](Kind kind, const auto& numbers) {
    into.push_back(kind);
    into.push_back(static_cast<int64_t>(numbers.size()));
    for (const int64_t number : numbers) into.push_back(number);
  };
  // What a sparse factor saves is not known: its products are not counted.
  if (value.isTensor() && value.toTensor().defined() && value.toTensor().layout() == c10::Layout::Strided) {
    put(TENSOR, value.toTensor().sizes());
  } else if (value.isIntList()) {
    put(NUMBERS, value.toIntVector());
  } else if (value.isBoolList()) {
    put(NUMBERS, value.toBoolList().vec());
  } else if (value.isInt()) {
    put(NUMBERS, std::vector<int64_t>{value.toInt()});
  } else if (value.isBool()) {
    put(NUMBERS, std::vector<int64_t>{value.toBool()});
  } else {
    put(OTHER, std::vector<int64_t>{});
  }
}

struct Memory {
  int64_t in_use = 0;
  int64_t peak = 0;
  int64_t allocated = 0;
  int64_t allocations = 0;
};

class Watcher : public c10::MemoryReportingInfoBase {
 public:
  Watcher(Seen seen, void* context, c10::DeviceType device) : seen_(seen), context_(context), device_(device) {}

  void reportMemoryUsage(void*, int64_t size, size_t, size_t, c10::Device device) override {
    if (device.type() != device_) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    memory_.in_use += size;
    memory_.peak = std::max(memory_.peak, memory_.in_use);
    if (size > 0) {
      memory_.allocated += size;
      memory_.allocations += 1;
    }
  }

  bool memoryProfilingEnabled() const override { return true; }

  void report(const at::RecordFunction& function) {
    const std::lock_guard<std::mutex> lock(mutex_);
    arguments_.clear();
    for (const auto& input : function.inputs()) encode(input, arguments_);
    seen_(context_, function.name(), arguments_.data(), arguments_.size());
  }

  Memory memory() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return memory_;
  }

 private:
  Seen seen_;
  void* context_;
  c10::DeviceType device_;
  std::mutex mutex_;
  std::vector<int64_t> arguments_;
  Memory memory_;
};

// An operator over a list of tensors is one or a few launches on a device. The CPU unrolls it: what it calls there is not
// counted, so that the counts are those of the program and not of the device it happens to run on.
thread_local int unrolling = 0;

struct Unrolling : at::ObserverContext {
  Unrolling() { ++unrolling; }
  ~Unrolling() override { --unrolling; }
};

std::unique_ptr<at::ObserverContext> entered(const at::RecordFunction& function) {
  if (unrolling > 0) return nullptr;
  auto* state = c10::ThreadLocalDebugInfo::get(c10::DebugInfoKind::PROFILER_STATE);
  if (auto* watcher = dynamic_cast<Watcher*>(state)) watcher->report(function);
  const auto begins = [&](const char* with) { return std::strncmp(function.name(), with, std::strlen(with)) == 0; };
  if (begins("aten::_foreach_") || begins("aten::_fused_")) return std::make_unique<Unrolling>();
  return nullptr;
}

struct Watch {
  Watch(Seen seen, void* context, c10::DeviceType device)
      : watcher(std::make_shared<Watcher>(seen, context, device)),
        guard(c10::DebugInfoKind::PROFILER_STATE, watcher),
        callback(at::addThreadLocalCallback(
            at::RecordFunctionCallback(entered).needsInputs(true).scopes({at::RecordScope::FUNCTION}))) {}
  ~Watch() { at::removeCallback(callback); }

  std::shared_ptr<Watcher> watcher;
  c10::DebugInfoGuard guard;
  at::CallbackHandle callback;
};

}  // namespace

extern "C" {

// Opens a watch on this thread; `cuda` says whose memory counts. `seen` must not unwind. Each argument of an operator is
// passed as its kind (1 a tensor, 2 numbers, 0 neither), the length, and that many values: the sizes of the tensor, or the
// numbers. Returns null when libtorch refuses.
void* etalon_watch_open(Seen seen, void* context, bool cuda) noexcept {
  try {
    return new Watch(seen, context, cuda ? c10::DeviceType::CUDA : c10::DeviceType::CPU);
  } catch (...) {
    return nullptr;
  }
}

// Closes a watch on the thread that opened it; writes the peak of the bytes in use beyond those at the start, the bytes
// handed out and the number of allocations. False when libtorch refuses.
bool etalon_watch_close(void* handle, int64_t memory[3]) noexcept {
  try {
    const std::unique_ptr<Watch> watch(static_cast<Watch*>(handle));
    const Memory seen = watch->watcher->memory();
    memory[0] = seen.peak;
    memory[1] = seen.allocated;
    memory[2] = seen.allocations;
    return true;
  } catch (...) {
    return false;
  }
}

// The largest number of bytes that the caching allocator of a CUDA device has held since the last reset (`reset` starts it
// anew). Negative without such a device.
int64_t etalon_cuda_reserved(int8_t device, bool reset) noexcept {
  try {
    auto* allocator = dynamic_cast<c10::DeviceAllocator*>(c10::GetAllocator(c10::DeviceType::CUDA));
    if (allocator == nullptr || !allocator->initialized()) return -1;
    constexpr auto all = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    const int64_t peak = allocator->getDeviceStats(device).reserved_bytes[all].peak;
    if (reset) allocator->resetPeakStats(device);
    return peak;
  } catch (...) {
    return -1;
  }
}
}
