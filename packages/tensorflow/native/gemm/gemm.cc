// Products of two matrices, either of them transposed. Each thread multiplies one strip of columns at a time. The strip
// of b, packed into panels, stays in the core's second-level cache while the thread reads the packed rows of a.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <mutex>

#include "gemm/bf16.h"
#include "gemm/bf16x3.h"
#include "gemm/checks.h"
#include "gemm/tiles.h"
#include "runtime/operation.h"
#include "runtime/parallel.h"
#include "runtime/scratch.h"

namespace wpo {
namespace {

// The values of a product: float32, or float32 sums that are rounded to bfloat16.
struct Result {
  void* data;
  Type type;
  float* floats() const { return static_cast<float*>(data); }
  Bf16* bf16s() const { return static_cast<Bf16*>(data); }
  Result from(int64_t offset) const { return {static_cast<char*>(data) + offset * size_of(type), type}; }
};

constexpr int64_t kMaxPackedA = 1 << 25;  // bytes of a that are packed at once

// c [m, n] = or += a · b at k depths. c is float32; or bfloat16, and k is the whole depth.
struct GemmArgs {
  Operand a, b;
  int64_t k;
  Result c;
  int64_t ldc;
  int64_t depth_block;  // depths of a strip at a time
  int64_t padded_rows;  // rows of a's panels
  char* packed_a;
  bool accumulate;
};

using TileFunction = void(int64_t depth, const void* a, const void* b, float* c, int64_t ldc, bool accumulate);

// Multiplies a tile at the edge of c: only its first `rows` rows and `columns` columns exist.
template <class Tiles>
WPO_INLINE void multiply_edge_tile(TileFunction tile, int64_t depth, const void* a, const void* b, float* c,
                                   int64_t ldc, bool accumulate, int64_t rows, int64_t columns) {
  float whole[Tiles::kRows * Tiles::kColumns] = {};
  if (accumulate)
    for (int64_t i = 0; i < rows; i++) std::copy_n(c + i * ldc, columns, whole + i * Tiles::kColumns);
  tile(depth, a, b, whole, Tiles::kColumns, accumulate);
  for (int64_t i = 0; i < rows; i++) std::copy_n(whole + i * Tiles::kColumns, columns, c + i * ldc);
}

// Packs rows [first, last) of a: all rows of the first depth block, then those of the next.
template <class Tiles>
WPO_INLINE void pack_rows(const GemmArgs& args, int64_t first, int64_t last) {
  for (int64_t k = 0; k < args.k; k += args.depth_block)
    pack<Tiles, Tiles::kRows>(args.a.from(0, k), first, last, std::min(args.depth_block, args.k - k),
                              args.packed_a + k * args.padded_rows * Tiles::kBytes, Tiles::pack_a);
}

// Whether all values are finite: x − x is 0 then, and NaN where x is infinite or NaN.
WPO_INLINE bool finite_in(const float* c, int64_t rows, int64_t columns, int64_t ldc) {
  bool finite = true;
  for (int64_t i = 0; i < rows; i++)
    finite &= sum_of(0, columns, [=](int64_t j) WPO_INLINE_LAMBDA { return c[i * ldc + j] - c[i * ldc + j]; }) == 0;
  return finite;
}

WPO_INLINE void round_sums(const float* sums, int64_t count, Bf16* c) {
  for (int64_t j = 0; j < count; j++) store_float(c + j, sums[j]);
}

// Computes rows [top, bottom) and columns [left, right) of c. Returns false if a result is not finite and the tiles are
// correct for finite values only. The results are then invalid.
template <class Tiles>
WPO_INLINE bool multiply_strip(const GemmArgs& args, TileFunction tile, int64_t top, int64_t bottom, int64_t left,
                               int64_t right, char* panels, float* sums) {
  // sums that become bfloat16: with one depth block, those of a tile's rows; otherwise of all rows
  const bool rounds = args.c.type == Type::kBfloat16;
  const int64_t width = round_up(right - left, Tiles::kColumns);  // of `sums`
  bool finite = true;
  Tiles::begin();
  for (int64_t k = 0; k < args.k; k += args.depth_block) {
    const int64_t depth = std::min(args.depth_block, args.k - k), bytes = packed_row_bytes<Tiles>(depth);
    const bool accumulate = args.accumulate || k > 0, last = k + depth == args.k;
    pack<Tiles, Tiles::kColumns>(args.b.from(left, k), 0, right - left, depth, panels, Tiles::pack_b);
    for (int64_t i = top; i < bottom; i += Tiles::kRows) {
      const char* a = args.packed_a + k * args.padded_rows * Tiles::kBytes + i * bytes;
      const int64_t rows = std::min(Tiles::kRows, bottom - i);
      float* row_sums = rounds ? sums + (args.k > args.depth_block ? i - top : 0) * width : nullptr;
      for (int64_t j = left; j < right; j += Tiles::kColumns) {
        const char* b = panels + (j - left) * bytes;
        const int64_t columns = std::min(Tiles::kColumns, right - j);
        if (rounds)
          tile(depth, a, b, row_sums + j - left, width, accumulate);
        else if (rows == Tiles::kRows && columns == Tiles::kColumns)
          tile(depth, a, b, args.c.floats() + i * args.ldc + j, args.ldc, accumulate);
        else
          multiply_edge_tile<Tiles>(tile, depth, a, b, args.c.floats() + i * args.ldc + j, args.ldc, accumulate, rows,
                                    columns);
      }
      for (int64_t r = 0; rounds && last && r < rows; r++)
        round_sums(row_sums + r * width, right - left, args.c.bf16s() + (i + r) * args.ldc + left);
      if (Tiles::kFiniteOnly && !rounds && last)
        finite &= finite_in(args.c.floats() + i * args.ldc + left, rows, right - left, args.ldc);
    }
  }
  Tiles::end();
  return finite;
}

struct IsaVariant {
  int64_t rows, columns, depth_step, bytes;  // as in FloatTiles
  void (*pack_rows)(const GemmArgs&, int64_t, int64_t);
  bool (*multiply_strip)(const GemmArgs&, int64_t, int64_t, int64_t, int64_t, char*, float*);
};

// Tiles are separate functions. If they were inlined into strips, which need registers too, their sums would be
// spilled.
#define WPO_TILES_VARIANT(name, target, ...)                                                                        \
  target void pack_rows_##name(const GemmArgs& args, int64_t first, int64_t last) {                                 \
    pack_rows<__VA_ARGS__>(args, first, last);                                                                      \
  }                                                                                                                 \
  target __attribute__((noinline)) void tile_##name(int64_t depth, const void* a, const void* b, float* c,          \
                                                    int64_t ldc, bool accumulate) {                                 \
    __VA_ARGS__::multiply(depth, a, b, c, ldc, accumulate);                                                         \
  }                                                                                                                 \
  target bool multiply_strip_##name(const GemmArgs& args, int64_t top, int64_t bottom, int64_t left, int64_t right, \
                                    char* panels, float* sums) {                                                    \
    return multiply_strip<__VA_ARGS__>(args, tile_##name, top, bottom, left, right, panels, sums);                  \
  }                                                                                                                 \
  const IsaVariant name = {__VA_ARGS__::kRows,  __VA_ARGS__::kColumns, __VA_ARGS__::kDepthStep,                     \
                           __VA_ARGS__::kBytes, pack_rows_##name,      multiply_strip_##name};
#include "gemm/tile-variants.h"
#ifdef WPO_AMX
WPO_TILES_VARIANT(amx_narrow_a, WPO_AMX, Bf16x3Tiles<true, false>)
WPO_TILES_VARIANT(amx_narrow_b, WPO_AMX, Bf16x3Tiles<false, true>)
#endif

int64_t second_level_cache() {
  const long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
  return bytes > 0 ? bytes : 1 << 19;
}

// Scratch memory that later products use again: new memory costs as much time as the copy into it.
class KeptScratch {
 public:
  char* get(int64_t bytes) {
    if (bytes > size_) {
      memory_.reset();
      size_ = 0;
      memory_ = allocate_scratch(bytes / static_cast<int64_t>(sizeof(float)) + 1);
      size_ = bytes;
    }
    return reinterpret_cast<char*>(memory_.get());
  }

 private:
  Scratch memory_;
  int64_t size_ = 0;
};

// c = or, with `accumulate`, which needs float32, += a · b, m by k and k by n. Returns false if a result is not finite
// and `w` is correct for finite values only.
bool multiply_by(const IsaVariant& w, const Operand& a, const Operand& b, int64_t m, int64_t n, int64_t k,
                 const Result& c, bool accumulate) {
  static std::mutex one_at_a_time;
  static KeptScratch kept_a, kept_b, kept_sums;
  static const int64_t cache = second_level_cache();
  const std::lock_guard<std::mutex> lock(one_at_a_time);

  const int64_t max_depth = cache >= 1 << 21 ? 1024 : 512;
  const int64_t depth_blocks = (k + max_depth - 1) / max_depth;
  const int64_t depth = round_up((k + depth_blocks - 1) / depth_blocks, w.depth_step);
  // a strip of b takes half the cache at most, and all threads get equally many strips
  const int64_t max_width = std::max<int64_t>(1, cache / 2 / w.bytes / depth / w.columns);
  const int64_t tiles = (n + w.columns - 1) / w.columns;
  const int64_t strips = std::min(round_up((tiles + max_width - 1) / max_width, threads()), tiles);
  const auto start = [=](int64_t strip) { return strip * tiles / strips * w.columns; };

  // as many rows of a as fit, then as many depths: a strip of b is packed again for each block of rows. Sums that
  // become bfloat16 need all depths at once.
  const bool rounds = c.type == Type::kBfloat16;
  const int64_t fitting = kMaxPackedA / w.bytes / depth / (rounds ? depth_blocks : 1);
  const int64_t row_block = std::max<int64_t>(1, fitting / w.rows) * w.rows;
  const int64_t padded = round_up(std::min(row_block, m), w.rows);
  const int64_t packed_blocks = rounds ? depth_blocks : std::min(std::max<int64_t>(1, fitting / padded), depth_blocks);
  const int64_t packed_depth = packed_blocks * depth;
  char* packed_a = kept_a.get(padded * packed_depth * w.bytes);
  const int64_t strip_width = (tiles + strips - 1) / strips * w.columns, strip_bytes = strip_width * depth * w.bytes;
  char* packed_b = kept_b.get(threads() * strip_bytes);
  const int64_t strip_sums = rounds ? strip_width * (depth_blocks > 1 ? padded : w.rows) : 0;
  float* sums = reinterpret_cast<float*>(kept_sums.get(threads() * strip_sums * static_cast<int64_t>(sizeof(float))));
  std::atomic<bool> finite{true};
  for (int64_t top = 0; top < m; top += row_block) {
    const int64_t rows = std::min(row_block, m - top);
    // where there are too few strips for the threads, each is cut into pieces of rows
    const int64_t pieces = std::max<int64_t>(1, std::min(2 * threads() / strips, rows / (4 * w.rows)));
    const int64_t piece = round_up((rows + pieces - 1) / pieces, w.rows), cuts = (rows + piece - 1) / piece;
    for (int64_t begin = 0; begin < k; begin += packed_depth) {
      const GemmArgs args = {a.from(top, begin),
                             b.from(0, begin),
                             std::min(packed_depth, k - begin),
                             c.from(top * n),
                             n,
                             depth,
                             padded,
                             packed_a,
                             accumulate || begin > 0};
      parallel(round_up(rows, w.rows) / w.rows, w.rows * args.k,
               [&](int64_t from, int64_t to, int) { w.pack_rows(args, from * w.rows, std::min(to * w.rows, rows)); });
      parallel(strips * cuts, n / strips * args.k, [&](int64_t from, int64_t to, int thread) {
        for (int64_t i = from; i < to; i++) {
          const int64_t strip = i / cuts, first = i % cuts * piece;
          if (!w.multiply_strip(args, first, std::min(first + piece, rows), start(strip), std::min(start(strip + 1), n),
                                packed_b + thread * strip_bytes, sums + thread * strip_sums))
            finite = false;
        }
      });
    }
  }
  return finite;
}

#ifdef WPO_AMX
// Computes a float32 product with AMX. Returns false if the results are invalid; c is as it was then, if it is added
// to.
bool multiply_by_amx(const Operand& a, const Operand& b, int64_t m, int64_t n, int64_t k, float* c, bool accumulate) {
  const bool narrow_a = a.type == Type::kBfloat16, narrow_b = b.type == Type::kBfloat16;
  const IsaVariant& isa = narrow_a ? amx_narrow_a : narrow_b ? amx_narrow_b : amx;
  const Result result = {c, Type::kFloat32};
  if (!accumulate) return multiply_by(isa, a, b, m, n, k, result, false);
  const Scratch before = allocate_scratch(checked_product(m, n));
  std::copy_n(c, m * n, before.get());
  if (multiply_by(isa, a, b, m, n, k, result, true)) return true;
  std::copy_n(before.get(), m * n, c);
  return false;
}
#endif

// At most kMaxAdded / n rows of c are added to at a time, because AMX keeps a copy of them.
constexpr int64_t kMaxAdded = 1 << 24;

void multiply(const Operand& a, const Operand& b, int64_t m, int64_t n, int64_t k, const Result& c, bool accumulate,
              Precision precision) {
  const Isa isa = selected_isa();
#ifdef WPO_AMX
  if (isa == Isa::kAmx && precision == Precision::kBfloat16) {
    multiply_by(amx_bf16, a, b, m, n, k, c, accumulate);
    return;
  }
  if (isa == Isa::kAmx) {
    const int64_t most = accumulate ? std::max<int64_t>(1, kMaxAdded / n) : m;
    for (int64_t top = 0; top < m; top += most) {
      const int64_t rows = std::min(most, m - top);
      const Operand part = a.from(top, 0);
      const Result to = c.from(top * n);
      if (!multiply_by_amx(part, b, rows, n, k, to.floats(), accumulate))
        multiply_by(variant(isa, precision), part, b, rows, n, k, to, accumulate);
    }
    return;
  }
#endif
  multiply_by(variant(isa, precision), a, b, m, n, k, c, accumulate);
}

// One operand of a product. All dimensions of the input but the last are its rows. `outer` is the number of the
// result's rows for a, and of its columns for b.
struct Side {
  int64_t outer, depth;
  Operand operand;
};

Side left_side(const OpContext& ctx, int i, bool transposed) {
  const int64_t rows = ctx.rows(i), width = ctx.width(i);
  const TensorView& x = ctx.view(i);
  return transposed ? Side{width, rows, {x.data, 1, width, nullptr, x.type}}
                    : Side{rows, width, {x.data, width, 1, nullptr, x.type}};
}

Side right_side(const OpContext& ctx, int i, bool transposed) { return left_side(ctx, i, !transposed); }

// Output 0, or with `add` input 0, which is changed. Float32 products with AMX make float32.
Result result(OpContext& ctx, const Shape& shape, bool add) {
  if (add) return {ctx.changed_input(0), Type::kFloat32};
  if (ctx.precision() == Precision::kFloat32) return {ctx.output(0, shape), Type::kFloat32};
  const TensorView output = ctx.typed_output(0, shape);
  return {output.data, output.type};
}

// Makes the product of two sides or, if `add`, adds it to input 0.
void multiply_sides(OpContext& ctx, const Side& a, const Side& b, bool add = false) {
  require_equal_depths({a.outer, a.depth}, {b.depth, b.outer});
  if (add) require_product_size(ctx, a.outer, b.outer);
  const Result c = result(ctx, {a.outer, b.outer}, add);
  if (add) *ctx.output_done() = 0;
  if (a.outer == 0 || b.outer == 0) return;
  if (a.depth > 0)
    multiply(a.operand, b.operand, a.outer, b.outer, a.depth, c, add, ctx.precision());
  else if (!add)
    std::memset(c.data, 0, a.outer * b.outer * size_of(c.type));
}

// a [m, k] or, transposed, [k, m]; b [k, n] or, transposed, [n, k] -> [m, n]
template <bool TransposeA, bool TransposeB>
void product(OpContext& ctx) {
  require_matrices(ctx, 0, 2);
  multiply_sides(ctx, left_side(ctx, 0, TransposeA), right_side(ctx, 1, TransposeB));
}

// into, m · n values (changed); a and b as above -> done []
template <bool TransposeA, bool TransposeB>
void add_product(OpContext& ctx) {
  require_matrices(ctx, 1, 2);
  multiply_sides(ctx, left_side(ctx, 1, TransposeA), right_side(ctx, 2, TransposeB), true);
}

// gate, up [m, k], w [n, k] -> (gelu(gate) · up) · wᵀ [m, n]
void gated_product(OpContext& ctx) {
  require_matrices(ctx, 0, 3);
  require_gate_and_up(ctx, 0);
  Side a = left_side(ctx, 0, false);
  a.operand.up = ctx.view(1).data;
  multiply_sides(ctx, a, right_side(ctx, 2, true));
}

// dy [k, m], gate, up [k, n], from input `first` -> dyᵀ · (gelu(gate) · up) [m, n]
void multiply_gated_gradient(OpContext& ctx, int first) {
  require_matrices(ctx, first, 3);
  require_gate_and_up(ctx, first + 1);
  Side b = right_side(ctx, first + 1, false);
  b.operand.up = ctx.view(first + 2).data;
  multiply_sides(ctx, left_side(ctx, first, true), b, first > 0);
}

void gated_product_gradient(OpContext& ctx) { multiply_gated_gradient(ctx, 0); }

// into, m · n values (changed), dy, gate, up -> done []
void add_gated_product_gradient(OpContext& ctx) { multiply_gated_gradient(ctx, 1); }

}  // namespace

void register_gemm() {
  register_kernel<product<false, false>>("WpoProduct");
  register_kernel<product<false, true>>("WpoProductNT");
  register_kernel<product<true, false>>("WpoProductTN");
  register_kernel<product<true, true>>("WpoProductTT");
  register_kernel<gated_product>("WpoGatedProduct");
  register_kernel<gated_product_gradient>("WpoGatedProductGrad");
  register_kernel<add_product<false, false>>("WpoAddProduct");
  register_kernel<add_product<false, true>>("WpoAddProductNT");
  register_kernel<add_product<true, false>>("WpoAddProductTN");
  register_kernel<add_product<true, true>>("WpoAddProductTT");
  register_kernel<add_gated_product_gradient>("WpoAddGatedProductGrad");
}

}  // namespace wpo
