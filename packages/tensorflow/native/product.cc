// Products of two matrices, either of them turned. A thread takes a strip of columns at a time: the strip of b, laid out in
// panels, stays in its second-level cache while the rows of a, laid out before, go by.
#include <algorithm>
#include <atomic>
#include <mutex>
#include <unistd.h>
#include "op.h"
#include "parallel.h"
#include "product.h"
#include "scratch.h"
#include "thirds.h"

namespace wpo {
namespace {

constexpr int64_t kLaidOut = 1 << 25;  // bytes of a that are laid out at once

struct Job {
  Operand a, b;
  int64_t k;
  float* c;  // [m, n], of rows `stride` apart
  int64_t stride;
  int64_t depth;   // of a strip at a time
  int64_t padded;  // rows of a's panels
  char* panels_a;
  bool add;  // to what c has
};

using Tile = void(int64_t depth, const void* a, const void* b, float* c, int64_t stride, bool add);

// A tile of which only the first `rows` and `columns` are there.
template <class T>
WPO_INLINE void part_of_tile(Tile tile, int64_t depth, const void* a, const void* b, float* c, int64_t stride, bool add,
                             int64_t rows, int64_t columns) {
  float whole[T::kRows * T::kColumns] = {};
  if (add)
    for (int64_t i = 0; i < rows; i++) std::copy_n(c + i * stride, columns, whole + i * T::kColumns);
  tile(depth, a, b, whole, T::kColumns, add);
  for (int64_t i = 0; i < rows; i++) std::copy_n(whole + i * T::kColumns, columns, c + i * stride);
}

// Rows [first, last) of a, those of the first `depth` depths before those of the next.
template <class T>
WPO_INLINE void lay_rows(const Job& job, int64_t first, int64_t last) {
  for (int64_t k = 0; k < job.k; k += job.depth)
    lay<T, T::kRows>(job.a.from(0, k), first, last, std::min(job.depth, job.k - k),
                     job.panels_a + k * job.padded * T::kBytes, T::lay_a);
}

// Whether all values are finite: x − x is 0 then, and no number where x is infinite or none itself.
WPO_INLINE bool finite_in(const float* c, int64_t rows, int64_t columns, int64_t stride) {
  bool finite = true;
  for (int64_t i = 0; i < rows; i++)
    finite &= sum_of(0, columns, [=](int64_t j) WPO_TERM { return c[i * stride + j] - c[i * stride + j]; }) == 0;
  return finite;
}

// Rows [top, bottom) and columns [left, right) of c. False where T works with finite numbers alone and a value is not one: they
// are not to be trusted then.
template <class T>
WPO_INLINE bool strip(const Job& job, Tile tile, int64_t top, int64_t bottom, int64_t left, int64_t right, char* panels) {
  bool finite = true;
  T::begin();
  for (int64_t k = 0; k < job.k; k += job.depth) {
    const int64_t depth = std::min(job.depth, job.k - k), bytes = row_bytes<T>(depth);
    const bool add = job.add || k > 0;
    lay<T, T::kColumns>(job.b.from(left, k), 0, right - left, depth, panels, T::lay_b);
    for (int64_t i = top; i < bottom; i += T::kRows) {
      const char* a = job.panels_a + k * job.padded * T::kBytes + i * bytes;
      const int64_t rows = std::min(T::kRows, bottom - i);
      for (int64_t j = left; j < right; j += T::kColumns) {
        const char* b = panels + (j - left) * bytes;
        float* c = job.c + i * job.stride + j;
        const int64_t columns = std::min(T::kColumns, right - j);
        if (rows == T::kRows && columns == T::kColumns)
          tile(depth, a, b, c, job.stride, add);
        else
          part_of_tile<T>(tile, depth, a, b, c, job.stride, add, rows, columns);
      }
      if (T::kFiniteOnly && k + depth == job.k)
        finite &= finite_in(job.c + i * job.stride + left, rows, right - left, job.stride);
    }
  }
  T::end();
  return finite;
}

struct Way {
  int64_t rows, columns, depths, bytes;  // of a tile; that depths are a multiple of; of a value laid out
  void (*lay_rows)(const Job&, int64_t, int64_t);
  bool (*strip)(const Job&, int64_t, int64_t, int64_t, int64_t, char*);
};

// Tiles are apart from strips, whose own values would take registers from their sums.
#define WPO_WAY_OF(name, target, ...)                                                                                \
  target void lay_rows_##name(const Job& job, int64_t first, int64_t last) {                                         \
    lay_rows<__VA_ARGS__>(job, first, last);                                                                         \
  }                                                                                                                  \
  target __attribute__((noinline)) void tile_##name(int64_t depth, const void* a, const void* b, float* c,           \
                                                    int64_t stride, bool add) {                                      \
    __VA_ARGS__::tile(depth, a, b, c, stride, add);                                                                  \
  }                                                                                                                  \
  target bool strip_##name(const Job& job, int64_t top, int64_t bottom, int64_t left, int64_t right, char* panels) { \
    return strip<__VA_ARGS__>(job, tile_##name, top, bottom, left, right, panels);                                   \
  }                                                                                                                  \
  const Way name = {__VA_ARGS__::kRows,  __VA_ARGS__::kColumns, __VA_ARGS__::kDepths,                                \
                    __VA_ARGS__::kBytes, lay_rows_##name,       strip_##name};
#define WPO_WAY(name, target, L, M) WPO_WAY_OF(name, target, Floats<L, M>)

WPO_WAYS
#ifdef WPO_TILES
WPO_WAY_OF(thirds, WPO_TILES, Thirds)
#endif

int64_t second_level_cache() {
  const long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
  return bytes > 0 ? bytes : 1 << 19;
}

// Memory that is kept from product to product, since fresh memory costs as much as the copy into it.
char* keep(Scratch& held, int64_t& size, int64_t wanted) {
  if (wanted > size) {
    held.reset();
    held = scratch_of(wanted / static_cast<int64_t>(sizeof(float)) + 1);
    size = held ? wanted : 0;
  }
  return reinterpret_cast<char*>(held.get());
}

enum Outcome { kDone, kNoMemory, kNotFinite };

// c = a · b, m by k and k by n.
Outcome multiply_by(const Way& w, const Operand& a, const Operand& b, int64_t m, int64_t n, int64_t k, float* c) {
  static std::mutex one_at_a_time;
  static Scratch held_a, held_b;
  static int64_t size_a = 0, size_b = 0;
  static const int64_t cache = second_level_cache();
  std::lock_guard<std::mutex> lock(one_at_a_time);

  const int64_t deepest = cache >= 1 << 21 ? 1024 : 512;
  const int64_t depths = (k + deepest - 1) / deepest, depth = up_to((k + depths - 1) / depths, w.depths);
  // a strip of b takes half the cache at most, and all threads have as many strips
  const int64_t widest = std::max<int64_t>(1, cache / 2 / w.bytes / depth / w.columns);
  const int64_t tiles = (n + w.columns - 1) / w.columns;
  const int64_t strips = std::min(up_to((tiles + widest - 1) / widest, threads()), tiles);
  const auto start = [=](int64_t strip) { return strip * tiles / strips * w.columns; };

  // as many rows of a as there is room for, and then as many depths: a strip of b is laid out again for each block of rows
  const int64_t at_once = kLaidOut / w.bytes / depth;
  const int64_t block = std::max<int64_t>(1, at_once / w.rows) * w.rows, padded = up_to(std::min(block, m), w.rows);
  const int64_t deep = std::min(std::max<int64_t>(1, at_once / padded), depths) * depth;
  char* panels_a = keep(held_a, size_a, padded * deep * w.bytes);
  const int64_t strip_bytes = (tiles + strips - 1) / strips * w.columns * depth * w.bytes;
  char* panels_b = keep(held_b, size_b, threads() * strip_bytes);
  if (!panels_a || !panels_b) return kNoMemory;
  std::atomic<bool> finite{true};
  for (int64_t top = 0; top < m; top += block) {
    const int64_t rows = std::min(block, m - top);
    // where strips are too few, each is cut into pieces of rows
    const int64_t pieces = std::max<int64_t>(1, std::min(2 * threads() / strips, rows / (4 * w.rows)));
    const int64_t piece = up_to((rows + pieces - 1) / pieces, w.rows), cut = (rows + piece - 1) / piece;
    for (int64_t begin = 0; begin < k; begin += deep) {
      const Job job = {a.from(top, begin), b.from(0, begin), std::min(deep, k - begin), c + top * n, n, depth, padded,
                       panels_a,           begin > 0};
      parallel(up_to(rows, w.rows) / w.rows, w.rows * job.k, [&](int64_t from, int64_t to, int) {
        w.lay_rows(job, from * w.rows, std::min(to * w.rows, rows));
      });
      parallel(strips * cut, n / strips * job.k, [&](int64_t from, int64_t to, int thread) {
        for (int64_t i = from; i < to; i++) {
          const int64_t strip = i / cut, first = i % cut * piece;
          if (!w.strip(job, first, std::min(first + piece, rows), start(strip), std::min(start(strip + 1), n),
                       panels_b + thread * strip_bytes))
            finite = false;
        }
      });
    }
  }
  return finite ? kDone : kNotFinite;
}

// The same; false where there is no memory to work in.
bool multiply(const Operand& a, const Operand& b, int64_t m, int64_t n, int64_t k, float* c) {
#ifdef WPO_TILES
  if (product_lanes() == kTile) {
    const Outcome outcome = multiply_by(thirds, a, b, m, n, k, c);
    if (outcome != kNotFinite) return outcome == kDone;
  }
#endif
  return multiply_by(way(), a, b, m, n, k, c) == kDone;
}

// The operand in inputs i, or i and i + 1: a matrix with all dimensions of input i but the last as rows. Its rows (or columns,
// if turned) are those of the result for a, or its columns (or rows) for b.
struct Sides {
  int64_t outer, depth;
  Operand operand;
};

Sides left_side(const Run& run, int i, bool turned) {
  const int64_t rows = run.rows(i), width = run.width(i);
  return turned ? Sides{width, rows, {run.in(i), 1, width}} : Sides{rows, width, {run.in(i), width, 1}};
}

Sides right_side(const Run& run, int i, bool turned) { return left_side(run, i, !turned); }

void multiply_sides(Run& run, const Sides& a, const Sides& b) {
  if (!run.ok(a.depth == b.depth, "the matrices do not fit")) return;
  float* c = run.out(0, {a.outer, b.outer});
  if (!c || a.outer == 0 || b.outer == 0) return;
  if (a.depth == 0) return std::memset(c, 0, a.outer * b.outer * sizeof(float)), void();
  run.ok(multiply(a.operand, b.operand, a.outer, b.outer, a.depth, c), "no memory to multiply in");
}

bool matrices(Run& run, int count) {
  for (int i = 0; i < count; i++)
    if (!run.ok(run.shape(i).size() >= 2, "wanted matrices")) return false;
  return true;
}

// a [m, k] or, turned, [k, m]; b [k, n] or, turned, [n, k] -> [m, n]
template <bool TurnedA, bool TurnedB>
void product(Run& run) {
  if (matrices(run, 2)) multiply_sides(run, left_side(run, 0, TurnedA), right_side(run, 1, TurnedB));
}

// gate, up [m, k], w [n, k] -> (gelu(gate) · up) · wᵀ [m, n]
void gated_product(Run& run) {
  if (!matrices(run, 3) || !run.ok(run.shape(0) == run.shape(1), "gate and up differ in shape")) return;
  Sides a = left_side(run, 0, false);
  a.operand.up = run.in(1);
  multiply_sides(run, a, right_side(run, 2, true));
}

// dy [k, m], gate, up [k, n] -> dyᵀ · (gelu(gate) · up) [m, n]
void gated_product_gradient(Run& run) {
  if (!matrices(run, 3) || !run.ok(run.shape(1) == run.shape(2), "gate and up differ in shape")) return;
  Sides b = right_side(run, 1, false);
  b.operand.up = run.in(2);
  multiply_sides(run, left_side(run, 0, true), b);
}

}  // namespace

void define_product() {
  define<product<false, false>>("WpoProduct", {"a: float", "b: float"}, {"c: float"});
  define<product<false, true>>("WpoProductNT", {"a: float", "b: float"}, {"c: float"});
  define<product<true, false>>("WpoProductTN", {"a: float", "b: float"}, {"c: float"});
  define<product<true, true>>("WpoProductTT", {"a: float", "b: float"}, {"c: float"});
  define<gated_product>("WpoGatedProduct", {"gate: float", "up: float", "w: float"}, {"y: float"});
  define<gated_product_gradient>("WpoGatedProductGrad", {"dy: float", "gate: float", "up: float"}, {"dw: float"});
}

}  // namespace wpo
