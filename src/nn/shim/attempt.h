// How this folder's functions tell failures. The other side is `said` in src/nn/failure.rs.

#pragma once

#include <cstring>
#include <exception>

// What went wrong, for the caller to free; null when nothing did.
template <typename Work>
char* attempt(const Work& work) noexcept {
  try {
    work();
    return nullptr;
  } catch (const std::exception& error) {
    return strdup(error.what());
  } catch (...) {
    return strdup("libtorch refused");
  }
}
