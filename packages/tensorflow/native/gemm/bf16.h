// Products of bfloat16 values with AVX512-BF16, whose vdpbf16ps adds two products to each of 16 float32 sums, twice as
// many as an instruction of float32 products; and with AMX (amx.h). Both read subnormal operands as zeros and make no
// subnormal results.
#pragma once
#include "gemm/amx.h"
#include "gemm/tiles.h"
#ifdef WPO_AVX512_BF16
#include <immintrin.h>

namespace wpo {

// Loads bfloat16 values, or float32 values that are rounded, as pairs of two depths in 32 bits.
struct Bf16Pairs {
  WPO_AVX512_BF16 WPO_INLINE __mmask16 first(int64_t count) {
    return static_cast<__mmask16>(count >= 16 ? 0xffff : count > 0 ? (1 << count) - 1 : 0);
  }
  // 16 pairs of values that are contiguous in memory. Only the first `count` values exist; the others are zeros.
  WPO_AVX512_BF16 WPO_INLINE __m512i contiguous(const float* at, int64_t count) {
    return (__m512i)_mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps(first(count - 16), at + 16),
                                        _mm512_maskz_loadu_ps(first(count), at));
  }
  WPO_AVX512_BF16 WPO_INLINE __m512i contiguous(const Bf16* at, int64_t count) {
    const uint32_t mask = count >= 32 ? ~0u : count > 0 ? (1u << count) - 1 : 0;
    return _mm512_maskz_loadu_epi16(mask, at);
  }
  // Pairs of 16 values at `at` and 16 values at `next`, of which those in the masks exist.
  WPO_AVX512_BF16 WPO_INLINE __m512i interleaved(const float* at, __mmask16 mask, const float* next,
                                                 __mmask16 next_mask) {
    return interleave(
        (__m512i)_mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps(next_mask, next), _mm512_maskz_loadu_ps(mask, at)));
  }
  WPO_AVX512_BF16 WPO_INLINE __m512i interleaved(const Bf16* at, __mmask16 mask, const Bf16* next,
                                                 __mmask16 next_mask) {
    const auto near = (VectorType<16>::Bf16s)_mm256_maskz_loadu_epi16(mask, at);
    const auto far = (VectorType<16>::Bf16s)_mm256_maskz_loadu_epi16(next_mask, next);
    return (__m512i)__builtin_shufflevector(near, far, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8, 24, 9,
                                            25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  }

 private:
  // Of 32 values, puts the value of the upper half beside that of the lower half.
  WPO_AVX512_BF16 WPO_INLINE __m512i interleave(__m512i halves) {
    alignas(64) static constexpr uint16_t kOrder[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                        8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return _mm512_permutexvar_epi16(_mm512_load_si512(kOrder), halves);
  }
};

// A tile of the result is 14 by 32. A panel holds pairs of depths: a pair of every row (or column), then the next pair
// of each. Members as in FloatTiles.
struct Bf16Tiles {
  static constexpr int64_t kRows = 14, kColumns = 32, kDepthStep = 2, kBytes = 2;
  static constexpr bool kFiniteOnly = false, kRounds = true;
  WPO_INLINE void begin() {}
  WPO_INLINE void end() {}
  WPO_AVX512_BF16 static void pack_a(const Operand& x, int64_t count, int64_t depth, void* panel) {
    pack<kRows>(x, count, depth, panel);
  }
  WPO_AVX512_BF16 static void pack_b(const Operand& x, int64_t count, int64_t depth, void* panel) {
    pack<kColumns>(x, count, depth, panel);
  }
  // Packs values that are stored in the order of a float32 panel.
  WPO_AVX512_BF16 static const void* as_panel_b(const float* values, int64_t depth, void* panel) {
    pack_b({values, 1, kColumns}, kColumns, depth, panel);
    return panel;
  }

  // c = or, with `accumulate`, += a · b, for two panels. c [14, 32] has leading dimension `ldc`.
  WPO_AVX512_BF16 static void multiply(int64_t depth, const void* a, const void* b, float* c, int64_t ldc,
                                       bool accumulate) {
    constexpr int M = kRows, N = kColumns, kAhead = 8 * N;
    const uint32_t *x = static_cast<const uint32_t*>(a), *y = static_cast<const uint32_t*>(b);
    for (int i = 0; i < M; i++) {
      __builtin_prefetch(c + i * ldc, 1);
      __builtin_prefetch(c + i * ldc + N - 1, 1);
    }
    __m512 sums[M][2];
    for (int i = 0; i < M; i++) sums[i][0] = sums[i][1] = _mm512_setzero_ps();
    for (int64_t k = 0; k + 2 <= depth; k += 2, x += M, y += N) {
      __builtin_prefetch(y + kAhead);
      __builtin_prefetch(y + kAhead + 16);
      add_pair(x, _mm512_loadu_si512(y), _mm512_loadu_si512(y + 16), ~0u, sums);
    }
    if (depth % 2) {  // the last depth's partner may belong to other values
      const __m512i first = _mm512_set1_epi32(0xffff);
      add_pair(x, _mm512_and_si512(_mm512_loadu_si512(y), first), _mm512_and_si512(_mm512_loadu_si512(y + 16), first),
               0xffff, sums);
    }
#pragma GCC unroll 16
    for (int i = 0; i < M; i++)
      for (int j = 0; j < 2; j++) {
        float* to = c + i * ldc + 16 * j;
        _mm512_storeu_ps(to, accumulate ? _mm512_add_ps(_mm512_loadu_ps(to), sums[i][j]) : sums[i][j]);
      }
  }

 private:
  WPO_AVX512_BF16 WPO_INLINE void add_pair(const uint32_t* x, __m512i low, __m512i high, uint32_t mask,
                                           __m512 (*sums)[2]) {
#pragma GCC unroll 16
    for (int i = 0; i < kRows; i++) {
      const __m512bh xi = (__m512bh)_mm512_set1_epi32(static_cast<int>(x[i] & mask));
      sums[i][0] = _mm512_dpbf16_ps(sums[i][0], xi, (__m512bh)low);
      sums[i][1] = _mm512_dpbf16_ps(sums[i][1], xi, (__m512bh)high);
    }
  }

  // Packs values [0, count) of x, count <= W, at depths [0, depth); zeros where count < W.
  template <int W, class T>
  WPO_AVX512_BF16 static void pack_values(const Operand& x, int64_t count, int64_t depth, uint32_t* panel) {
    if (x.row_stride == 1) {
      for (int64_t k = 0; k < depth; k += 2, panel += W)
        for (int i = 0; i < W; i += 16) {
          const __mmask16 mask = Bf16Pairs::first(count - i);
          const __m512i pairs =
              Bf16Pairs::interleaved(x.at<T>(i, k), mask, x.at<T>(i, k + 1), k + 1 < depth ? mask : 0);
          _mm512_mask_storeu_epi32(panel + i, Bf16Pairs::first(W - i), pairs);
        }
      return;
    }
    for (int64_t k = 0; k < depth; k += 32) {
      const int64_t values = std::min<int64_t>(32, depth - k), pairs = (values + 1) / 2;
      for (int i = 0; i < W; i += 16) {
        Vector<16> rows[16];
        for (int r = 0; r < 16; r++)
          rows[r] = i + r < count ? (Vector<16>)Bf16Pairs::contiguous(x.at<T>(i + r, k), values) : Vector<16>{};
        transpose<16>(rows);
        for (int64_t j = 0; j < pairs; j++)
          _mm512_mask_storeu_epi32(panel + (k / 2 + j) * W + i, Bf16Pairs::first(W - i), (__m512i)rows[j]);
      }
    }
  }

  template <int W>
  WPO_AVX512_BF16 static void pack(const Operand& x, int64_t count, int64_t depth, void* panel) {
    uint32_t* to = static_cast<uint32_t*>(panel);
    if (x.up)
      pack_gated<W>(x, count, depth, [=](const Operand& values, int64_t piece, int64_t k) WPO_AVX512_BF16 {
        pack_values<W, float>(values, count, piece, to + k / 2 * W);
      });
    else if (x.type == Type::kBfloat16)
      pack_values<W, Bf16>(x, count, depth, to);
    else
      pack_values<W, float>(x, count, depth, to);
  }
};

#ifdef WPO_AMX
// A panel holds 32 rows (or columns), 32 depths at a time, as AMX reads them: two blocks of 16 rows by 16 pairs of
// depths (a), or of 16 pairs of depths by 16 columns (b). Members as in FloatTiles.
struct AmxBf16Tiles : AmxTiles {
  static constexpr int64_t kBytes = 2;
  // whole blocks of depths are multiplied: packed operands have zeros after their last depth
  static constexpr bool kFiniteOnly = false, kRounds = true;

  WPO_AMX static void pack_a(const Operand& x, int64_t count, int64_t depth, void* panel) {
    pack(x, count, depth, false, panel);
  }
  WPO_AMX static void pack_b(const Operand& x, int64_t count, int64_t depth, void* panel) {
    pack(x, count, depth, true, panel);
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
    for (int64_t k = 0; k < depth; k += kDepthStep, x += 2 * kBlock, y += 2 * kBlock)
      load_a(x), load_b(y), multiply_loaded();
    store_sums(c, ldc);
  }

 private:
  WPO_AMX static void pack(const Operand& x, int64_t count, int64_t depth, bool by_depth, void* panel) {
    if (x.up)
      pack_gated<32>(x, count, depth, [=](const Operand& values, int64_t piece, int64_t k) WPO_AMX {
        pack_values<float>(values, count, piece, by_depth, static_cast<uint16_t*>(panel) + k * kColumns);
      });
    else if (x.type == Type::kBfloat16)
      pack_values<Bf16>(x, count, depth, by_depth, static_cast<uint16_t*>(panel));
    else
      pack_values<float>(x, count, depth, by_depth, static_cast<uint16_t*>(panel));
  }

  template <class T>
  WPO_AMX static void pack_values(const Operand& x, int64_t count, int64_t depth, bool by_depth, uint16_t* to) {
    const bool rows_contiguous = x.row_stride == 1;
    for (int64_t k = 0; k < depth; k += kDepthStep)
      for (int64_t row = 0; row < kRows; row += 16, to += kBlock) {
        Vector<16> lines[16];  // of pairs: a line is a row, or if rows are contiguous a pair of depths
        if (rows_contiguous) {
          const __mmask16 mask = Bf16Pairs::first(count - row);
          for (int i = 0; i < 16; i++) {
            const int64_t near = k + 2 * i, far = near + 1;
            lines[i] = (Vector<16>)Bf16Pairs::interleaved(x.at<T>(row, near), near < depth ? mask : 0,
                                                          x.at<T>(row, far), far < depth ? mask : 0);
          }
        } else {
          for (int i = 0; i < 16; i++)
            lines[i] =
                row + i < count ? (Vector<16>)Bf16Pairs::contiguous(x.at<T>(row + i, k), depth - k) : Vector<16>{};
        }
        if (by_depth != rows_contiguous) transpose<16>(lines);
        for (int i = 0; i < 16; i++) _mm512_store_si512(to + 32 * i, (__m512i)lines[i]);
      }
  }
};
#endif

}  // namespace wpo
#endif
