// Compiles kernels.cu and fused-attention.cu by NVRTC for a compute capability,
// such as 80 or 120, and a block's kilobytes of shared memory. Prints the size
// of each cubin and, of fused attention for a head size, the keys of a tile of
// the keys' gradient and the bytes of shared memory. For tests.
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "gpu/nvrtc.h"

int main(int count, char** arguments) {
  if (count != 3) return 2;
  const int capability = std::atoi(arguments[1]), major = capability / 10, minor = capability % 10;
  const int64_t shared = std::atoi(arguments[2]) * 1024;
  try {
    std::printf("kernels %zu\n", wpo::compile_kernels(major, minor).size());
    for (const int head_size : {128, 256}) {
      const auto tiles = wpo::attention_tiles(head_size, shared);
      if (major < 8 || !tiles) continue;
      std::printf("fused %d %d %d %zu\n", head_size, static_cast<int>(tiles->gradient_keys),
                  static_cast<int>(tiles->max_bytes()), wpo::compile_fused_attention(major, minor, *tiles).size());
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "sm_%d: %s\n", capability, error.what());
    return 1;
  }
}
