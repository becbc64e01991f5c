// CUDA's runtime compiler.
#pragma once
#include <string>

namespace wpo {

// kernels.cu as machine code (a cubin) for GPUs of a compute capability, e.g. 8, 0. Throws with the compiler's log.
std::string compile_kernels(int major, int minor);

// Throws where the compiler cannot be loaded.
void require_nvrtc();

}  // namespace wpo
