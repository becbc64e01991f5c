// Float32 products with AMX's tiles, which multiply bfloat16 only. A float's 24 bits are the sum of three bfloat16
// values of 8 bits each: its high, mid and low parts. Of the nine products of two floats' parts, six contribute more
// than a float's last bit; AMX computes these six in less time than vector code computes one float product. Henry,
// Tang, Heinecke, "Leveraging the bfloat16 Artificial Intelligence Datatype For Higher-Precision Computations" (arXiv
// 1904.06376).
#pragma once
#include "gemm/amx.h"
#include "gemm/tiles.h"
#ifdef WPO_AMX
#include <immintrin.h>

namespace wpo {

// A panel holds 32 rows (or columns), 32 depths at a time: first their high parts, then mid, then low. Each part is
// stored as AMX reads it: two blocks of 16 rows by 16 pairs of depths (a), or of 16 pairs of depths by 16 columns (b).
// A pair is depths i and i + 16: the order of depths does not matter to the sum, and one shift puts these two side by
// side.
//
// A narrow operand's values are bfloat16: its mid and low parts are zeros, which are neither stored nor multiplied. The
// other three products are the same, in the same order, so the results have the same bits.
template <bool NarrowA = false, bool NarrowB = false>
struct Bf16x3Tiles : AmxTiles {
  static constexpr int64_t kBytes = 6;
  static constexpr bool kRounds = false;
  // infinity splits into infinity, 0 and 0, and infinity times another value's zero part is NaN
  static constexpr bool kFiniteOnly = true;
  static constexpr int64_t kPiece = kBytes * kBlock;  // values of a panel's 32 depths

  WPO_AMX static void pack_a(const Operand& x, int64_t count, int64_t depth, void* panel) {
    pack<NarrowA>(x, count, depth, false, panel);
  }
  WPO_AMX static void pack_b(const Operand& x, int64_t count, int64_t depth, void* panel) {
    pack<NarrowB>(x, count, depth, true, panel);
  }
  // Packs values that are stored in the order of a float32 panel.
  WPO_AMX static const void* as_panel_b(const float* values, int64_t depth, void* panel) {
    pack_b({values, 1, kColumns}, kColumns, depth, panel);
    return panel;
  }

  // c = or, with `accumulate`, += a · b, for two panels. c [32, 32] has leading dimension `ldc`.
  WPO_AMX static void multiply(int64_t depth, const void* a, const void* b, float* c, int64_t ldc, bool accumulate) {
    begin_sums(c, ldc, accumulate);
    const uint16_t *x = static_cast<const uint16_t*>(a), *y = static_cast<const uint16_t*>(b);
    for (int64_t k = 0; k < depth; k += kDepthStep, x += kPiece, y += kPiece) {
      const uint16_t *a_high = x, *a_mid = x + 2 * kBlock, *a_low = x + 4 * kBlock;
      const uint16_t *b_high = y, *b_mid = y + 2 * kBlock, *b_low = y + 4 * kBlock;
      if constexpr (NarrowA) {
        load_a(a_high), load_b(b_low), multiply_loaded();
        load_b(b_mid), multiply_loaded();
        load_b(b_high), multiply_loaded();
      } else if constexpr (NarrowB) {
        load_a(a_mid), load_b(b_high), multiply_loaded();
        load_a(a_low), multiply_loaded();
        load_a(a_high), multiply_loaded();
      } else {
        load_a(a_high), load_b(b_low), multiply_loaded();
        load_b(b_mid), multiply_loaded();
        load_a(a_mid), multiply_loaded();
        load_b(b_high), multiply_loaded();
        load_a(a_low), multiply_loaded();
        load_a(a_high), multiply_loaded();
      }
    }
    store_sums(c, ldc);
  }

 private:
  WPO_AMX WPO_INLINE Vector<16> load_masked(const float* at, __mmask16 mask) {
    return (Vector<16>)_mm512_maskz_loadu_ps(mask, at);
  }
  WPO_AMX WPO_INLINE Vector<16> load_masked(const Bf16* at, __mmask16 mask) {
    const auto values = (VectorType<16>::Bf16s)_mm256_maskz_loadu_epi16(mask, at);
    return (Vector<16>)(__builtin_convertvector(values, VectorType<16>::Bits) << 16);
  }
  template <class T>
  WPO_AMX WPO_INLINE void load_lines(const T* from, int64_t step, int64_t lines, __mmask16 mask, Vector<16>* v) {
    if (lines >= 16)
      for (int i = 0; i < 16; i++) v[i] = load_masked(from + i * step, mask);
    else
      for (int i = 0; i < 16; i++) v[i] = i < lines ? load_masked(from + i * step, mask) : Vector<16>{};
  }

  template <class T>
  WPO_AMX WPO_INLINE void load_values(const Operand& from, int64_t step, int64_t lines, __mmask16 mask, Vector<16>* v) {
    load_lines(from.at<T>(0, 0), step, lines, mask, v);
    if (!from.up) return;
    for (int i = 0; i < 16 && i < lines; i++) {
      const Vector<16> up = load_masked(from.up_at<T>(0, 0) + i * step, mask);
      for (int j = 0; j < 16; j++) v[i][j] = gated(v[i][j], up[j]);
    }
  }

  // Loads 16 vectors of 16 values, starting at depth k: vector i holds depths of row i or, with `by_depth`, rows of
  // depth i. Values past the end are zeros.
  WPO_AMX static void load(const Operand& x, int64_t first, int64_t count, int64_t k, int64_t depth, bool by_depth,
                           Vector<16>* v) {
    const bool rows_contiguous = x.row_stride == 1;
    const int64_t lines = rows_contiguous ? depth - k : count - first,
                  values = rows_contiguous ? count - first : depth - k;
    const int64_t step = rows_contiguous ? x.depth_stride : x.row_stride;
    const __mmask16 mask = static_cast<__mmask16>(values >= 16 ? 0xffff : values > 0 ? (1 << values) - 1 : 0);
    const Operand from = x.from(first, k);
    if (x.type == Type::kBfloat16)
      load_values<Bf16>(from, step, lines, mask, v);
    else
      load_values<float>(from, step, lines, mask, v);
    if (by_depth != rows_contiguous) transpose<16>(v);
  }

  // Splits off x's next part: the nearest bfloat16, in the upper half of each result. x keeps the remainder.
  WPO_AMX WPO_INLINE __m512i split_off(__m512& x) {
    const __m512i rounded = _mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(0x8000));
    const __m512i bits = _mm512_and_si512(rounded, _mm512_set1_epi32(static_cast<int>(0xffff0000)));
    x = _mm512_sub_ps(x, _mm512_castsi512_ps(bits));
    return bits;
  }
  // Joins the upper halves of two vectors: the first's become the lower halves. The second's lower halves are dropped.
  WPO_AMX WPO_INLINE __m512i join_upper_halves(__m512i low, __m512i high) {
    const __m512i shifted = (__m512i)((__v16su)low >> 16);  // GCC 12 warns of its own header at _mm512_srli_epi32
    return _mm512_mask_blend_epi16(0xaaaaaaaa, shifted, high);
  }

  template <bool Narrow>
  WPO_AMX static void pack(const Operand& x, int64_t count, int64_t depth, bool by_depth, void* panel) {
    uint16_t* to = static_cast<uint16_t*>(panel);
    for (int64_t k = 0; k < depth; k += kDepthStep, to += kPiece)
      for (int side = 0; side < 2; side++) {
        Vector<16> near[16], far[16];
        load(x, 16 * side, count, k, depth, by_depth, near);
        load(x, 16 * side, count, k + 16, depth, by_depth, far);
        for (int i = 0; i < 16; i++) {
          __m512 first = (__m512)near[i], second = (__m512)far[i];
          uint16_t* at = to + side * kBlock + 32 * i;
          const __m512i high = split_off(first), high_far = split_off(second);
          _mm512_store_si512(at, join_upper_halves(high, high_far));
          if constexpr (Narrow) continue;
          const __m512i mid = split_off(first), mid_far = split_off(second);
          _mm512_store_si512(at + 2 * kBlock, join_upper_halves(mid, mid_far));
          // the remainder has 8 bits, so cutting it off is exact; NaN stays NaN for every payload
          _mm512_store_si512(at + 4 * kBlock,
                             join_upper_halves(_mm512_castps_si512(first), _mm512_castps_si512(second)));
        }
      }
  }
};

}  // namespace wpo
#endif
