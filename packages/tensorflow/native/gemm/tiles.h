// Matrix products by tiles that stay in registers. Both operands are first packed into panels, in the order in which a
// tile reads them: W values of one depth side by side, then those of the next depth. Each value of a product is one sum
// in order of depth, for any number of other rows and columns.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "elementwise/geglu.h"
#include "gemm/isa.h"
#include "runtime/scratch.h"
#include "runtime/types.h"

namespace wpo {

// An operand by its strides, one of which is 1: the value for row (or column) i of the result and depth k is
// data[i · row_stride + k · depth_stride], a float32 or a bfloat16. With `up`, of the same type, data is a gate and the
// value is gelu(gate) · up.
struct Operand {
  const void* data;
  int64_t row_stride, depth_stride;
  const void* up = nullptr;
  Type type = Type::kFloat32;
  template <class T = float>
  const T* at(int64_t i, int64_t k) const {
    return static_cast<const T*>(data) + i * row_stride + k * depth_stride;
  }
  template <class T>
  const T* up_at(int64_t i, int64_t k) const {
    return static_cast<const T*>(up) + i * row_stride + k * depth_stride;
  }
  Operand from(int64_t i, int64_t k) const {
    const int64_t bytes = (i * row_stride + k * depth_stride) * size_of(type);
    return {static_cast<const char*>(data) + bytes, row_stride, depth_stride,
            up ? static_cast<const char*>(up) + bytes : nullptr, type};
  }
};

// A vector of V floats at any address.
template <int V>
struct VectorType {
  typedef float Vector __attribute__((vector_size(4 * V), aligned(4)));
  typedef uint32_t Bits __attribute__((vector_size(4 * V)));
  typedef Bf16 Bf16s __attribute__((vector_size(2 * V)));
};
template <int V>
using Vector = typename VectorType<V>::Vector;

// Loads V values as float32. Not by a result, which a function that is compiled without these vectors cannot return.
template <int V>
WPO_INLINE void load_vector(const float* at, Vector<V>& to) {
  to = *reinterpret_cast<const Vector<V>*>(at);
}
template <int V>
WPO_INLINE void load_vector(const Bf16* at, Vector<V>& to) {
  using Types = VectorType<V>;
  typename Types::Bf16s values;
  std::memcpy(&values, at, sizeof values);
  to = (Vector<V>)(__builtin_convertvector(values, typename Types::Bits) << 16);
}

template <int V>
WPO_INLINE void load_vector(const RoundedFloat* at, Vector<V>& to) {
  using Bits = typename VectorType<V>::Bits;
  std::memcpy(&to, at, sizeof to);
  const Bits bits = (Bits)to, rounded = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
  const Bits nan = (bits | 0x400000u) & 0xffff0000u;
  to = (Vector<V>)((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
}

// A step of transposing V rows: rows a and b, S apart, swap their blocks of S values.
template <int V, int S, int... J>
WPO_INLINE void swap_blocks(Vector<V>& a, Vector<V>& b, std::integer_sequence<int, J...>) {
  const Vector<V> first = __builtin_shufflevector(a, b, ((J & S) ? V + J - S : J)...);
  b = __builtin_shufflevector(a, b, ((J & S) ? V + J : J + S)...);
  a = first;
}

template <int V, int S = V / 2>
WPO_INLINE void transpose(Vector<V>* rows) {
#pragma GCC unroll 16
  for (int i = 0; i < V; i++)
    if (!(i & S)) swap_blocks<V, S>(rows[i], rows[i + S], std::make_integer_sequence<int, V>());
  if constexpr (S > 1) transpose<V, S / 2>(rows);
}

// Packs one panel of an operand of type T: values [0, count) of x, count <= W, at depths [0, depth); zeros where
// count < W.
template <int V, int W, class T = float>
WPO_INLINE void pack_values(const Operand& x, int64_t count, int64_t depth, float* panel) {
  if (x.row_stride == 1) {
    if (count == W)
      for (int64_t k = 0; k < depth; k++) {
        const T* from = x.at<T>(0, k);
        for (int64_t i = 0; i < W; i++) panel[k * W + i] = load_float(from + i);
      }
    else
      for (int64_t k = 0; k < depth; k++)
        for (int64_t i = 0; i < W; i++) panel[k * W + i] = i < count ? load_float(x.at<T>(i, k)) : 0.0f;
    return;
  }
  int64_t k = 0;
  for (; k + V <= depth; k += V)
#pragma GCC unroll 4
    for (int first = 0; first < W; first += V) {
      Vector<V> rows[V];
      for (int i = 0; i < V; i++)
        if (first + i < count)
          load_vector<V>(x.at<T>(first + i, k), rows[i]);
        else
          rows[i] = Vector<V>{};
      transpose<V>(rows);
      constexpr int kRest = W % V ? W % V : V;
      for (int j = 0; j < V; j++) {
        float* to = panel + (k + j) * W + first;
        if (first + V <= W)
          std::memcpy(to, &rows[j], V * sizeof(float));
        else
          std::memcpy(to, &rows[j], kRest * sizeof(float));
      }
    }
  for (; k < depth; k++)
    for (int64_t i = 0; i < W; i++) panel[k * W + i] = i < count ? load_float(x.at<T>(i, k)) : 0.0f;
}

// Packs values that must be computed first, gelu(gate) · up, a few depths at a time: pack_piece(operand, depth, k)
// packs the computed values from depth k on.
template <int W, class T, class Pack>
WPO_INLINE void pack_gated_as(const Operand& x, int64_t count, int64_t depth, Pack pack_piece) {
  constexpr int64_t kPiece = 64;
  float values[W * kPiece];
  for (int64_t k = 0; k < depth; k += kPiece) {
    const int64_t piece = depth - k < kPiece ? depth - k : kPiece;
    const Operand part = x.from(0, k);
    if (x.row_stride == 1) {
      for (int64_t p = 0; p < piece; p++) {
        const T *gate = part.at<T>(0, p), *up = part.up_at<T>(0, p);
        for (int64_t i = 0; i < count; i++) values[p * W + i] = gated(load_float(gate + i), load_float(up + i));
      }
      pack_piece({values, 1, W}, piece, k);
    } else {
      for (int64_t i = 0; i < count; i++) {
        const T *gate = part.at<T>(i, 0), *up = part.up_at<T>(i, 0);
        for (int64_t p = 0; p < piece; p++) values[i * kPiece + p] = gated(load_float(gate + p), load_float(up + p));
      }
      pack_piece({values, kPiece, 1}, piece, k);
    }
  }
}

template <int W, class Pack>
WPO_INLINE void pack_gated(const Operand& x, int64_t count, int64_t depth, Pack pack_piece) {
  if (x.type == Type::kBfloat16)
    pack_gated_as<W, Bf16>(x, count, depth, pack_piece);
  else
    pack_gated_as<W, float>(x, count, depth, pack_piece);
}

// T: how float32 values are loaded, float or RoundedFloat.
template <int V, int W, class T>
WPO_INLINE void pack_panel(const Operand& x, int64_t count, int64_t depth, float* panel) {
  if (x.up)
    pack_gated<W>(x, count, depth, [=](const Operand& values, int64_t piece, int64_t k) WPO_INLINE_LAMBDA {
      pack_values<V, W, T>(values, count, piece, panel + k * W);
    });
  else if (x.type == Type::kBfloat16)
    pack_values<V, W, Bf16>(x, count, depth, panel);
  else
    pack_values<V, W, T>(x, count, depth, panel);
}

// c = or, with `accumulate`, += a · b, for a panel a of M rows and a panel b of 2 V columns. c [M, 2 V] has leading
// dimension `ldc`.
template <int V, int M>
WPO_INLINE void multiply_tile(int64_t depth, const float* a, const float* b, float* c, int64_t ldc, bool accumulate) {
  constexpr int N = 2 * V, kAhead = 8 * N;
  for (int i = 0; i < M; i++) {
    __builtin_prefetch(c + i * ldc, 1);
    __builtin_prefetch(c + i * ldc + N - 1, 1);
  }
  Vector<V> sums[M][2] = {};
  for (int64_t k = 0; k < depth; k++, a += M, b += N) {
    __builtin_prefetch(b + kAhead);
    if (V == 16) __builtin_prefetch(b + kAhead + V);
    const Vector<V> low = *reinterpret_cast<const Vector<V>*>(b), high = *reinterpret_cast<const Vector<V>*>(b + V);
#pragma GCC unroll 16
    for (int i = 0; i < M; i++) {
      sums[i][0] += a[i] * low;
      sums[i][1] += a[i] * high;
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < M; i++) {
    Vector<V>* row = reinterpret_cast<Vector<V>*>(c + i * ldc);
    row[0] = accumulate ? row[0] + sums[i][0] : sums[i][0];
    row[1] = accumulate ? row[1] + sums[i][1] : sums[i][1];
  }
}

// Tiles of float32, with vectors of V and M rows. T is RoundedFloat if operands are rounded to bfloat16. Bf16Tiles,
// AmxBf16Tiles (bf16.h) and Bf16x3Tiles (bf16x3.h) have the same members.
template <int V, int M, class T = float>
struct FloatTiles {
  // rows and columns of a tile; a panel's depths are rounded up to a multiple of kDepthStep; bytes of a packed value
  static constexpr int64_t kRows = M, kColumns = 2 * V, kDepthStep = 1, kBytes = 4;
  static constexpr bool kFiniteOnly = false;  // whether an infinity in an operand gives wrong results
  static constexpr bool kRounds = !std::is_same_v<T, float>;
  WPO_INLINE void begin() {}
  WPO_INLINE void end() {}
  WPO_INLINE void pack_a(const Operand& x, int64_t count, int64_t depth, void* panel) {
    pack_panel<V, M, T>(x, count, depth, static_cast<float*>(panel));
  }
  WPO_INLINE void pack_b(const Operand& x, int64_t count, int64_t depth, void* panel) {
    pack_panel<V, 2 * V, T>(x, count, depth, static_cast<float*>(panel));
  }
  // A panel of kColumns from values that are stored in the order of a float32 panel. Unless they are rounded, they
  // already are one.
  WPO_INLINE const void* as_panel_b(const float* values, int64_t depth, void* panel) {
    if constexpr (!kRounds) return values;
    pack_b({values, 1, kColumns}, kColumns, depth, panel);
    return panel;
  }
  WPO_INLINE void multiply(int64_t depth, const void* a, const void* b, float* c, int64_t ldc, bool accumulate) {
    multiply_tile<V, M>(depth, static_cast<const float*>(a), static_cast<const float*>(b), c, ldc, accumulate);
  }
};

// Bytes of one row (or column) in a panel of `depth` depths.
template <class Tiles>
WPO_INLINE int64_t packed_row_bytes(int64_t depth) {
  return round_up(depth, Tiles::kDepthStep) * Tiles::kBytes;
}

// Packs rows [begin, end) of x into panels of W, at `depth` depths. If the rows of one depth are contiguous, it
// packs a few depths of all panels, then the next few.
template <class Tiles, int64_t W, class Pack>
WPO_INLINE void pack(const Operand& x, int64_t begin, int64_t end, int64_t depth, char* panels, Pack pack_one) {
  const int64_t bytes = packed_row_bytes<Tiles>(depth), piece = x.row_stride == 1 ? 32 : depth;
  for (int64_t k = 0; k < depth; k += piece)
    for (int64_t i = begin; i < end; i += W)
      pack_one(x.from(i, k), std::min(W, end - i), std::min(piece, depth - k),
               panels + i * bytes + k * W * Tiles::kBytes);
}

}  // namespace wpo
