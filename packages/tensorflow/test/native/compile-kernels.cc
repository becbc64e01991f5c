// Compiles kernels.cu by NVRTC for the compute capabilities given, such as 80
// or 120, and prints the size of each cubin. For tests.
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "gpu/nvrtc.h"

int main(int count, char** arguments) {
  for (int i = 1; i < count; i++) {
    const int capability = std::atoi(arguments[i]);
    try {
      std::printf("%d %zu\n", capability, wpo::compile_kernels(capability / 10, capability % 10).size());
    } catch (const std::exception& error) {
      std::fprintf(stderr, "sm_%d: %s\n", capability, error.what());
      return 1;
    }
  }
}
