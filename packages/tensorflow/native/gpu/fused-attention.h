// What the kernels of fused-attention.cu need of a GPU.
#pragma once
#include <algorithm>
#include <cstdint>
#include <optional>

namespace wpo {

// Sizes of the kernels' tiles, for a head size, and the bytes of shared memory that a block takes.
struct AttentionTiles {
  static constexpr int64_t kQueries = 64, kKeys = 64, kQueryGradientKeys = 32, kKeyGradientQueries = 32;
  int64_t head_size, gradient_keys;

  int64_t forward_bytes() const { return columns_bytes(kQueries + 2 * kKeys); }
  int64_t query_gradient_bytes() const { return columns_bytes(2 * kQueries + 2 * kQueryGradientKeys); }
  int64_t key_gradient_bytes() const {
    return columns_bytes(2 * gradient_keys + 2 * kKeyGradientQueries) + 2 * 2 * gradient_keys * kKeyGradientQueries;
  }
  int64_t max_bytes() const { return std::max({forward_bytes(), query_gradient_bytes(), key_gradient_bytes()}); }

 private:
  int64_t columns_bytes(int64_t columns) const { return 2 * head_size * columns; }  // of queries or keys, as bfloat16
};

// The largest tiles for a block with `bytes` of shared memory; none if all take more.
inline std::optional<AttentionTiles> attention_tiles(int64_t head_size, int64_t bytes) {
  for (const int64_t gradient_keys : {64, 32}) {
    const AttentionTiles tiles = {head_size, gradient_keys};
    if (tiles.max_bytes() <= bytes) return tiles;
  }
  return std::nullopt;
}

}  // namespace wpo
