// Memory of the CPU for values that live within a step: outputs of operations, sums of gradients, scratch memory.
//
// Freed memory is kept for the next value, because new pages of the system cost as much time as a copy into them. But
// never more is mapped than was in use at once: where no free piece is large enough for a value, free pieces of that
// size in all are given back to the system before the value gets new ones.
#pragma once
#include <cstdint>

namespace wpo {

// Smaller values come from TensorFlow's allocator or from malloc.
constexpr int64_t kMinStepMemory = 1 << 18;

// Memory without values, aligned to a page; null if the system has no more. May be called by several threads.
void* allocate_step_memory(int64_t bytes);
// `bytes` as it was allocated.
void free_step_memory(void* memory, int64_t bytes) noexcept;

}  // namespace wpo
