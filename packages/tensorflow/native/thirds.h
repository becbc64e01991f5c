// Products of floats by the tiles of AMX, which multiply bfloat16 alone. A float of 24 bits is the sum of three values of 8
// bits, its thirds, high, middle and low; of the nine products of two floats' thirds, six carry more than the last bit of a
// float, and a tile makes these in less time than vector code takes for one of floats. Henry, Tang, Heinecke, "Leveraging the
// bfloat16 Artificial Intelligence Datatype For Higher-Precision Computations" (arXiv 1904.06376).
#pragma once
#include "product.h"
#ifdef WPO_TILES
#include <immintrin.h>

namespace wpo {

// A tile of the result is 32 by 32. A panel holds 32 rows (or columns) by 32 depths after 32 depths, of each its high thirds,
// its middle, its low; and each as AMX reads it, 16 rows of 16 pairs of depths, or 16 pairs of depths of 16 columns, two of these.
// A pair are the depths i and i + 16: sums are the same whichever way depths go, and these are put side by side by one shift.
struct Thirds {
  static constexpr int64_t kRows = 32, kColumns = 32, kDepths = 32, kBytes = 6;
  // the thirds of infinity are infinity, 0 and 0, and infinity times a third that is 0 is no number
  static constexpr bool kFiniteOnly = true;
  static constexpr int64_t kBlock = 16 * 32, kPiece = 6 * kBlock;  // values of a block, of a panel's 32 depths

  // All eight registers as 16 rows of 64 bytes.
  WPO_TILES static void begin() {
    struct {
      uint8_t palette, start, unused[14];
      uint16_t row_bytes[16];
      uint8_t rows[16];
    } shapes = {};
    shapes.palette = 1;
    for (int i = 0; i < 8; i++) shapes.row_bytes[i] = 64, shapes.rows[i] = 16;
    asm volatile("ldtilecfg %0" ::"m"(shapes));
  }
  WPO_TILES static void end() { _tile_release(); }

  WPO_TILES static void lay_a(const Operand& x, int64_t count, int64_t depth, void* panel) {
    lay(x, count, depth, false, panel);
  }
  WPO_TILES static void lay_b(const Operand& x, int64_t count, int64_t depth, void* panel) {
    lay(x, count, depth, true, panel);
  }
  // The same from values that lie 32 of a depth side by side.
  WPO_TILES static const void* panel_b(const float* values, int64_t depth, void* panel) {
    lay_b({values, 1, kColumns}, kColumns, depth, panel);
    return panel;
  }

  // c [32, 32], rows `stride` apart, = or += a panel by a panel.
  WPO_TILES static void tile(int64_t depth, const void* a, const void* b, float* c, int64_t stride, bool add) {
    asm volatile("" ::: "memory");  // the intrinsics do not say what they read
    const int64_t bytes = stride * sizeof(float);
    if (add) {
      _tile_loadd(0, c, bytes);
      _tile_loadd(1, c + 16, bytes);
      _tile_loadd(2, c + 16 * stride, bytes);
      _tile_loadd(3, c + 16 * stride + 16, bytes);
    } else {
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
    }
    const uint16_t *x = static_cast<const uint16_t*>(a), *y = static_cast<const uint16_t*>(b);
    for (int64_t k = 0; k < depth; k += kDepths, x += kPiece, y += kPiece) {
      const uint16_t *a_high = x, *a_middle = x + 2 * kBlock, *a_low = x + 4 * kBlock;
      const uint16_t *b_high = y, *b_middle = y + 2 * kBlock, *b_low = y + 4 * kBlock;
      take_a(a_high), take_b(b_low), multiply();
      take_b(b_middle), multiply();
      take_a(a_middle), multiply();
      take_b(b_high), multiply();
      take_a(a_low), multiply();
      take_a(a_high), multiply();
    }
    _tile_stored(0, c, bytes);
    _tile_stored(1, c + 16, bytes);
    _tile_stored(2, c + 16 * stride, bytes);
    _tile_stored(3, c + 16 * stride + 16, bytes);
  }

 private:
  // 16 vectors of 16 values from depth k: vector i along the depth at the i-th row, or (`across`) at the i-th depth across the
  // rows. Zeros for what is not there.
  WPO_TILES static void load(const Operand& x, int64_t first, int64_t count, int64_t k, int64_t depth, bool across,
                             Vector<16>* v) {
    const bool rows_lie = x.across == 1;  // the rows of one depth side by side
    const int64_t lines = rows_lie ? depth - k : count - first, values = rows_lie ? count - first : depth - k;
    const int64_t step = rows_lie ? x.along : x.across;
    const __mmask16 mask = values >= 16 ? 0xffff : values > 0 ? (1 << values) - 1 : 0;
    const Operand from = x.from(first, k);
    if (lines >= 16)
      for (int i = 0; i < 16; i++) v[i] = (Vector<16>)_mm512_maskz_loadu_ps(mask, from.data + i * step);
    else
      for (int i = 0; i < 16; i++)
        v[i] = i < lines ? (Vector<16>)_mm512_maskz_loadu_ps(mask, from.data + i * step) : Vector<16>{};
    if (x.up)
      for (int i = 0; i < 16 && i < lines; i++) {
        const Vector<16> up = (Vector<16>)_mm512_maskz_loadu_ps(mask, from.up + i * step);
        for (int j = 0; j < 16; j++) v[i][j] = gated(v[i][j], up[j]);
      }
    if (across != rows_lie) turn<16>(v);
  }

  // The nearest value of 8 bits, in a float's upper half, and what is left of x.
  WPO_TILES WPO_INLINE __m512i third(__m512& x) {
    const __m512i up = _mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(0x8000));
    const __m512i bits = _mm512_and_si512(up, _mm512_set1_epi32(0xffff0000));
    x = _mm512_sub_ps(x, _mm512_castsi512_ps(bits));
    return bits;
  }
  // The upper halves of two vectors, the first's in the lower halves of the result; the second's lower halves are dropped.
  WPO_TILES WPO_INLINE __m512i side_by_side(__m512i low, __m512i high) {
    return _mm512_mask_blend_epi16(0xaaaaaaaa, _mm512_srli_epi32(low, 16), high);
  }

  WPO_TILES static void lay(const Operand& x, int64_t count, int64_t depth, bool across, void* panel) {
    uint16_t* to = static_cast<uint16_t*>(panel);
    for (int64_t k = 0; k < depth; k += kDepths, to += kPiece)
      for (int side = 0; side < 2; side++) {
        Vector<16> near[16], far[16];
        load(x, 16 * side, count, k, depth, across, near);
        load(x, 16 * side, count, k + 16, depth, across, far);
        for (int i = 0; i < 16; i++) {
          __m512 low = (__m512)near[i], high = (__m512)far[i];
          uint16_t* at = to + side * kBlock + 32 * i;
          const __m512i top = third(low), top_far = third(high);
          _mm512_store_si512(at, side_by_side(top, top_far));
          const __m512i middle = third(low), middle_far = third(high);
          _mm512_store_si512(at + 2 * kBlock, side_by_side(middle, middle_far));
          // what is left has 8 bits; and no number stays none, whatever its bits
          _mm512_store_si512(at + 4 * kBlock, side_by_side(_mm512_castps_si512(low), _mm512_castps_si512(high)));
        }
      }
  }

  WPO_TILES WPO_INLINE void take_a(const uint16_t* thirds) {
    _tile_loadd(4, thirds, 64);
    _tile_loadd(5, thirds + kBlock, 64);
  }
  WPO_TILES WPO_INLINE void take_b(const uint16_t* thirds) {
    _tile_loadd(6, thirds, 64);
    _tile_loadd(7, thirds + kBlock, 64);
  }
  WPO_TILES WPO_INLINE void multiply() {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
};

}  // namespace wpo
#endif
