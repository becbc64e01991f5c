// Matrix products by tiles that stay in registers. Both operands are first laid out in panels, as a tile reads them: W
// values of one depth side by side, then those of the next depth. A value of a product is one sum in order of depth,
// whatever lies beside it.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#include "geglu.h"
#include "vector-math.h"

namespace wpo {

// An operand by its strides, one of which is 1: its value for a row (or column) i of the result and depth k is
// data[i · across + k · along]; where there is `up`, data is a gate and the value is gelu(gate) · up.
struct Operand {
  const float* data;
  int64_t across, along;
  const float* up = nullptr;
  const float* at(int64_t i, int64_t k) const { return data + i * across + k * along; }
  Operand from(int64_t i, int64_t k) const {
    const int64_t by = i * across + k * along;
    return {data + by, across, along, up ? up + by : nullptr};
  }
};

template <int L>
struct Lanes {
  typedef float Vector __attribute__((vector_size(4 * L), aligned(4)));
};
template <int L>
using Vector = typename Lanes<L>::Vector;

inline int64_t up_to(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// A step of turning L rows into L columns: rows a and b, S apart, change their blocks of S values.
template <int L, int S, int... J>
WPO_INLINE void swap_blocks(Vector<L>& a, Vector<L>& b, std::integer_sequence<int, J...>) {
  const Vector<L> first = __builtin_shufflevector(a, b, ((J & S) ? L + J - S : J)...);
  b = __builtin_shufflevector(a, b, ((J & S) ? L + J : J + S)...);
  a = first;
}

template <int L, int S = L / 2>
WPO_INLINE void turn(Vector<L>* rows) {
#pragma GCC unroll 16
  for (int i = 0; i < L; i++)
    if (!(i & S)) swap_blocks<L, S>(rows[i], rows[i + S], std::make_integer_sequence<int, L>());
  if constexpr (S > 1) turn<L, S / 2>(rows);
}

// One panel: values [0, count) of x, at most W, at depths [0, depth); zeros where there are fewer than W.
template <int L, int W>
WPO_INLINE void lay_values(const Operand& x, int64_t count, int64_t depth, float* panel) {
  if (x.across == 1) {
    if (count == W)
      for (int64_t k = 0; k < depth; k++) std::memcpy(panel + k * W, x.at(0, k), W * sizeof(float));
    else
      for (int64_t k = 0; k < depth; k++)
        for (int64_t i = 0; i < W; i++) panel[k * W + i] = i < count ? *x.at(i, k) : 0.0f;
    return;
  }
  int64_t k = 0;
  for (; k + L <= depth; k += L)
#pragma GCC unroll 4
    for (int first = 0; first < W; first += L) {
      Vector<L> rows[L];
      for (int i = 0; i < L; i++)
        rows[i] = first + i < count ? *reinterpret_cast<const Vector<L>*>(x.at(first + i, k)) : Vector<L>{};
      turn<L>(rows);
      constexpr int kRest = W % L ? W % L : L;
      for (int j = 0; j < L; j++) {
        float* to = panel + (k + j) * W + first;
        if (first + L <= W)
          std::memcpy(to, &rows[j], L * sizeof(float));
        else
          std::memcpy(to, &rows[j], kRest * sizeof(float));
      }
    }
  for (; k < depth; k++)
    for (int64_t i = 0; i < W; i++) panel[k * W + i] = i < count ? *x.at(i, k) : 0.0f;
}

// The same where the values are yet to be computed, a few at a time.
template <int L, int W>
WPO_INLINE void lay_gated(const Operand& x, int64_t count, int64_t depth, float* panel) {
  constexpr int64_t kPiece = 64;
  float values[W * kPiece];
  for (int64_t k = 0; k < depth; k += kPiece) {
    const int64_t piece = depth - k < kPiece ? depth - k : kPiece;
    const Operand part = x.from(0, k);
    if (x.across == 1) {
      for (int64_t p = 0; p < piece; p++) {
        const float *gate = part.data + p * x.along, *up = part.up + p * x.along;
        for (int64_t i = 0; i < count; i++) values[p * W + i] = gated(gate[i], up[i]);
      }
      lay_values<L, W>({values, 1, W}, count, piece, panel + k * W);
    } else {
      for (int64_t i = 0; i < count; i++) {
        const float *gate = part.data + i * x.across, *up = part.up + i * x.across;
        for (int64_t p = 0; p < piece; p++) values[i * kPiece + p] = gated(gate[p], up[p]);
      }
      lay_values<L, W>({values, kPiece, 1}, count, piece, panel + k * W);
    }
  }
}

template <int L, int W>
WPO_INLINE void lay_panel(const Operand& x, int64_t count, int64_t depth, float* panel) {
  x.up ? lay_gated<L, W>(x, count, depth, panel) : lay_values<L, W>(x, count, depth, panel);
}

// c [M, 2 L], rows `stride` apart, = or += a panel of M by one of 2 L.
template <int L, int M>
WPO_INLINE void tile(int64_t depth, const float* a, const float* b, float* c, int64_t stride, bool add) {
  constexpr int N = 2 * L, kAhead = 8 * N;
  for (int i = 0; i < M; i++) {
    __builtin_prefetch(c + i * stride, 1);
    __builtin_prefetch(c + i * stride + N - 1, 1);
  }
  Vector<L> sums[M][2] = {};
  for (int64_t k = 0; k < depth; k++, a += M, b += N) {
    __builtin_prefetch(b + kAhead);
    if (L == 16) __builtin_prefetch(b + kAhead + L);
    const Vector<L> low = *reinterpret_cast<const Vector<L>*>(b), high = *reinterpret_cast<const Vector<L>*>(b + L);
#pragma GCC unroll 16
    for (int i = 0; i < M; i++) {
      sums[i][0] += a[i] * low;
      sums[i][1] += a[i] * high;
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < M; i++) {
    Vector<L>* row = reinterpret_cast<Vector<L>*>(c + i * stride);
    row[0] = add ? row[0] + sums[i][0] : sums[i][0];
    row[1] = add ? row[1] + sums[i][1] : sums[i][1];
  }
}

// Floats laid out and multiplied as they are; Thirds (thirds.h) is the other way.
template <int L, int M>
struct Floats {
  static constexpr int64_t kRows = M, kColumns = 2 * L, kDepths = 1, kBytes = 4;
  static constexpr bool kFiniteOnly = false;
  WPO_INLINE void begin() {}
  WPO_INLINE void end() {}
  WPO_INLINE void lay_a(const Operand& x, int64_t count, int64_t depth, void* panel) {
    lay_panel<L, M>(x, count, depth, static_cast<float*>(panel));
  }
  WPO_INLINE void lay_b(const Operand& x, int64_t count, int64_t depth, void* panel) {
    lay_panel<L, 2 * L>(x, count, depth, static_cast<float*>(panel));
  }
  // A panel of kColumns from values that lie as one of floats does.
  WPO_INLINE const void* panel_b(const float* values, int64_t, void*) { return values; }
  WPO_INLINE void tile(int64_t depth, const void* a, const void* b, float* c, int64_t stride, bool add) {
    wpo::tile<L, M>(depth, static_cast<const float*>(a), static_cast<const float*>(b), c, stride, add);
  }
};

// Bytes of a row (or column) in a panel of `depth` depths.
template <class T>
WPO_INLINE int64_t row_bytes(int64_t depth) {
  return up_to(depth, T::kDepths) * T::kBytes;
}

// Panels of W for [begin, end) of x, at `depth` depths; where these lie side by side, a few depths of them all before the next.
template <class T, int64_t W, class Lay>
WPO_INLINE void lay(const Operand& x, int64_t begin, int64_t end, int64_t depth, char* panels, Lay lay_one) {
  const int64_t bytes = row_bytes<T>(depth), piece = x.across == 1 ? 32 : depth;
  for (int64_t k = 0; k < depth; k += piece)
    for (int64_t i = begin; i < end; i += W)
      lay_one(x.from(i, k), std::min(W, end - i), std::min(piece, depth - k), panels + i * bytes + k * W * T::kBytes);
}

// What is compiled for each instruction set, with the lanes and rows of a tile whose sums fill its registers: WPO_WAY(name,
// attribute, lanes, rows) is the including file's. `way` is the best that this processor has.
#if defined(__x86_64__)
#define WPO_WAYS                                                 \
  WPO_WAY(v4, __attribute__((target("arch=x86-64-v4"))), 16, 14) \
  WPO_WAY(v3, __attribute__((target("arch=x86-64-v3"))), 8, 6)   \
  WPO_WAY(plain, , 4, 4)                                         \
  const Way& way() { return product_lanes() >= 16 ? v4 : product_lanes() == 8 ? v3 : plain; }
#else
#define WPO_WAYS         \
  WPO_WAY(plain, , 4, 4) \
  const Way& way() { return plain; }
#endif

#if defined(__x86_64__) && defined(__linux__)
#define WPO_TILES __attribute__((target("arch=x86-64-v4,avx512bf16,amx-tile,amx-bf16")))
// Whether there are AMX's tiles of bfloat16, and this process may use them: the system gives them to one that asks.
inline bool ask_for_tiles() {
  unsigned a, b, c, d, a1, b1, c1, d1;
  const bool described = __get_cpuid_count(7, 0, &a, &b, &c, &d) && __get_cpuid_count(7, 1, &a1, &b1, &c1, &d1);
  const bool tiles = described && d >> 22 & 1 && d >> 24 & 1 && a1 >> 5 & 1;  // amx-bf16, amx-tile, avx512-bf16
  constexpr int kAsk = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return tiles && syscall(SYS_arch_prctl, kAsk, kTileData) == 0;
}
#endif

constexpr int kTile = 256;

// How many values of a result this processor adds to at once, of those that are compiled for: a tile's, or a vector's lanes.
// WPO_LANES=16, 8 or 4 holds it to fewer, as processors without AMX, AVX-512 or AVX2 have them; it is read each time, so that
// tests go through all.
inline int product_lanes() {
#if defined(__x86_64__)
  static const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
  static const bool middle = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const char* asked = std::getenv("WPO_LANES");
  const int most = asked ? std::atoi(asked) : kTile;
#ifdef WPO_TILES
  if (wide && most >= kTile) {  // a process that holds to less does not ask
    static const bool tiles = ask_for_tiles();
    if (tiles) return kTile;
  }
#endif
  return wide && most >= 16 ? 16 : middle && most >= 8 ? 8 : 4;
#else
  return 4;
#endif
}

}  // namespace wpo
