// CUDA graphs. The C side of src/nn/graph.rs, a library of its own: it needs libtorch_cuda, which only machines with a GPU can
// open, so the program carries it inside and opens it there.

#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAStream.h>

#include "attempt.h"

namespace {

struct Graph {
  at::cuda::CUDAGraph graph;
  // What is current outside of the capture, which may not happen on the default stream.
  c10::cuda::CUDAStream outside = c10::cuda::getCurrentCUDAStream();
};

}  // namespace

extern "C" {

// Begins to record what this thread launches instead of doing it.
char* etalon_graph_begin(void** graph) noexcept {
  return attempt([&] {
    c10::cuda::device_synchronize();
    // Memory that the steps before have left behind is not the graph's to use.
    c10::cuda::CUDACachingAllocator::emptyCache();
    auto* begun = new Graph();
    *graph = begun;
    c10::cuda::setCurrentCUDAStream(c10::cuda::getStreamFromPool());
    begun->graph.capture_begin();
  });
}

// Ends the recording, also one that failed.
char* etalon_graph_end(void* graph) noexcept {
  auto* ended = static_cast<Graph*>(graph);
  char* error = attempt([&] { ended->graph.capture_end(); });
  c10::cuda::setCurrentCUDAStream(ended->outside);
  return error;
}

// Launches what was recorded.
char* etalon_graph_replay(void* graph) noexcept {
  return attempt([&] { static_cast<Graph*>(graph)->graph.replay(); });
}

void etalon_graph_free(void* graph) noexcept {
  static_cast<void>(attempt([&] { delete static_cast<Graph*>(graph); }));
}
}
