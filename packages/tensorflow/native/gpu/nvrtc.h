// CUDA's runtime compiler.
#pragma once
#include <string>

#include "gpu/fused-attention.h"

namespace wpo {

// kernels.cu as machine code (a cubin) for GPUs of a compute capability, e.g. 8, 0. Throws with the compiler's log.
std::string compile_kernels(int major, int minor);

// fused-attention.cu for these tiles, in the same way. The compute capability must be 8.0 or later.
std::string compile_fused_attention(int major, int minor, const AttentionTiles& tiles);

// Throws where the compiler cannot be loaded.
void require_nvrtc();

}  // namespace wpo
