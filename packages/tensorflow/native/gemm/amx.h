// AMX: eight tile registers of 16 rows of 64 bytes, and products of two of them.
#pragma once
#include "gemm/tiles.h"
#ifdef WPO_AMX
#include <immintrin.h>

namespace wpo {

// A tile of the result is 32 by 32: registers 0 to 3. An operand is two blocks of 16 rows (or columns) by 32 depths in
// bfloat16, in registers 4 and 5 (a), and 6 and 7 (b). Members as in FloatTiles.
struct AmxTiles {
  static constexpr int64_t kRows = 32, kColumns = 32, kDepthStep = 32;
  static constexpr int64_t kBlock = 16 * 32;  // values of a block

  WPO_AMX static void begin() {
    struct {
      uint8_t palette, start, unused[14];
      uint16_t row_bytes[16];
      uint8_t rows[16];
    } config = {};
    config.palette = 1;
    for (int i = 0; i < 8; i++) config.row_bytes[i] = 64, config.rows[i] = 16;
    asm volatile("ldtilecfg %0" ::"m"(config));
  }
  WPO_AMX static void end() { _tile_release(); }

 protected:
  WPO_AMX WPO_INLINE void begin_sums(const float* c, int64_t ldc, bool accumulate) {
    asm volatile("" ::: "memory");  // the intrinsics do not declare the memory that they read
    if (accumulate) {
      const int64_t bytes = ldc * static_cast<int64_t>(sizeof(float));
      _tile_loadd(0, c, bytes);
      _tile_loadd(1, c + 16, bytes);
      _tile_loadd(2, c + 16 * ldc, bytes);
      _tile_loadd(3, c + 16 * ldc + 16, bytes);
    } else {
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
    }
  }
  WPO_AMX WPO_INLINE void store_sums(float* c, int64_t ldc) {
    const int64_t bytes = ldc * static_cast<int64_t>(sizeof(float));
    _tile_stored(0, c, bytes);
    _tile_stored(1, c + 16, bytes);
    _tile_stored(2, c + 16 * ldc, bytes);
    _tile_stored(3, c + 16 * ldc + 16, bytes);
  }
  WPO_AMX WPO_INLINE void load_a(const uint16_t* part) {
    _tile_loadd(4, part, 64);
    _tile_loadd(5, part + kBlock, 64);
  }
  WPO_AMX WPO_INLINE void load_b(const uint16_t* part) {
    _tile_loadd(6, part, 64);
    _tile_loadd(7, part + kBlock, 64);
  }
  WPO_AMX WPO_INLINE void multiply_loaded() {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
};

}  // namespace wpo
#endif
