// Products of two matrices, either of them turned. A thread takes a strip of columns at a time: the strip of b, laid out in
// panels, stays in its second-level cache while the rows of a, laid out before, go by.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <unistd.h>
#include "op.h"
#include "parallel.h"
#include "product.h"

namespace wpo {
namespace {

constexpr int64_t kLaidOut = 1 << 22;  // values of a that are laid out at once: 16 MB

struct Job {
  Operand a, b;
  int64_t m, n, k;
  float* c;  // [m, n], of rows n apart, the first being `first`
  int64_t stride;
  int64_t depth, width;          // of a strip at a time
  int64_t rows;                  // of a strip at a time, where it is cut
  int64_t padded;                // rows of a's panels
  float *panels_a, *panels_b;    // panels_b: depth · width for each thread
};

// Rows [first, first + M) of a at all depths, those of the first `depth` before those of the next.
template <int L, int M>
WPO_INLINE void lay_rows(const Job& job, int64_t first) {
  for (int64_t k = 0; k < job.k; k += job.depth) {
    const int64_t depth = std::min(job.depth, job.k - k);
    lay_panel<L, M>(job.a.from(first, k), std::min<int64_t>(M, job.m - first), depth,
                    job.panels_a + k * job.padded + first * depth);
  }
}

// Rows [top, bottom) and columns [left, right) of c.
template <int L, int M>
WPO_INLINE void strip(const Job& job, int64_t top, int64_t bottom, int64_t left, int64_t right, float* panels) {
  constexpr int N = 2 * L;
  for (int64_t k = 0; k < job.k; k += job.depth) {
    const int64_t depth = std::min(job.depth, job.k - k);
    for (int64_t j = left; j < right; j += N)
      lay_panel<L, N>(job.b.from(j, k), std::min<int64_t>(N, right - j), depth, panels + (j - left) * depth);
    for (int64_t i = top; i < bottom; i += M) {
      const float* a = job.panels_a + k * job.padded + i * depth;
      const int64_t rows = std::min<int64_t>(M, bottom - i);
      for (int64_t j = left; j < right; j += N) {
        const float* b = panels + (j - left) * depth;
        float* c = job.c + i * job.stride + j;
        const int64_t columns = std::min<int64_t>(N, right - j);
        if (rows == M && columns == N)
          tile<L, M>(depth, a, b, c, job.stride, k > 0);
        else
          part_of_tile<L, M>(depth, a, b, c, job.stride, k > 0, rows, columns);
      }
    }
  }
}

struct Way {
  int64_t tile_rows, tile_columns;
  void (*lay_rows)(const Job&, int64_t);
  void (*strip)(const Job&, int64_t, int64_t, int64_t, int64_t, float*);
};

#define WPO_WAY(name, target, L, M)                                                                              \
  target void lay_rows_##name(const Job& job, int64_t first) { lay_rows<L, M>(job, first); }                     \
  target void strip_##name(const Job& job, int64_t top, int64_t bottom, int64_t left, int64_t right, float* p) { \
    strip<L, M>(job, top, bottom, left, right, p);                                                               \
  }                                                                                                              \
  const Way name = {M, 2 * L, lay_rows_##name, strip_##name};

WPO_WAYS

int64_t second_level_cache() {
  const long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
  return bytes > 0 ? bytes : 1 << 19;
}

// Memory that is kept from product to product, since fresh memory costs as much as the copy into it.
float* scratch(std::unique_ptr<float, void (*)(void*)>& held, size_t& size, size_t wanted) {
  if (wanted > size) {
    held.reset();
    held.reset(static_cast<float*>(std::aligned_alloc(64, (wanted * sizeof(float) + 63) / 64 * 64)));
    size = held ? wanted : 0;
  }
  return held.get();
}

// c = a · b, m by k and k by n; false where there is no memory to work in.
bool multiply(const Operand& a, const Operand& b, int64_t m, int64_t n, int64_t k, float* c) {
  static std::mutex one_at_a_time;
  static std::unique_ptr<float, void (*)(void*)> held_a(nullptr, std::free), held_b(nullptr, std::free);
  static size_t size_a = 0, size_b = 0;
  static const int64_t cache = second_level_cache();
  std::lock_guard<std::mutex> lock(one_at_a_time);

  const Way& w = way();
  const int64_t deepest = cache >= 1 << 21 ? 1024 : 512;
  const int64_t depths = (k + deepest - 1) / deepest, depth = (k + depths - 1) / depths;
  // a strip of b takes half the cache at most, and there are strips for all threads
  const int64_t widest = std::max<int64_t>(1, cache / 8 / depth / w.tile_columns);
  const int64_t tiles = (n + w.tile_columns - 1) / w.tile_columns;
  const int64_t shared = std::max<int64_t>(1, tiles / (2 * threads()));
  const int64_t width = std::min(widest, shared) * w.tile_columns;
  const int64_t strips = (n + width - 1) / width;

  const int64_t block = std::max<int64_t>(1, kLaidOut / k / w.tile_rows) * w.tile_rows;
  const int64_t padded = up_to(std::min(block, m), w.tile_rows);
  float* panels_a = scratch(held_a, size_a, padded * k);
  float* panels_b = scratch(held_b, size_b, threads() * depth * width);
  if (!panels_a || !panels_b) return false;
  for (int64_t top = 0; top < m; top += block) {
    const int64_t rows = std::min(block, m - top);
    // where strips are too few, each is cut into pieces of rows
    const int64_t pieces = std::max<int64_t>(1, std::min(2 * threads() / strips, rows / (4 * w.tile_rows)));
    const Job job = {a.from(top, 0),
                     b,
                     rows,
                     n,
                     k,
                     c + top * n,
                     n,
                     depth,
                     width,
                     up_to((rows + pieces - 1) / pieces, w.tile_rows),
                     padded,
                     panels_a,
                     panels_b};
    parallel(up_to(rows, w.tile_rows) / w.tile_rows, w.tile_rows * k, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; i++) w.lay_rows(job, i * w.tile_rows);
    });
    const int64_t cut = (rows + job.rows - 1) / job.rows;
    parallel(strips * cut, width * k, [&](int64_t begin, int64_t end, int thread) {
      for (int64_t i = begin; i < end; i++) {
        const int64_t left = i / cut * width, first = i % cut * job.rows;
        w.strip(job, first, std::min(first + job.rows, rows), left, std::min(left + width, n),
                panels_b + thread * depth * width);
      }
    });
  }
  return true;
}

// The operand in inputs i, or i and i + 1: a matrix of the shape of input i, whose rows (or columns, if turned) are those of
// the result for a, or its columns (or rows) for b.
struct Sides {
  int64_t outer, depth;
  Operand operand;
};

Sides left_side(const Run& run, int i, bool turned) {
  const Shape s = run.shape(i);
  return turned ? Sides{s[1], s[0], {run.in(i), 1, s[1]}} : Sides{s[0], s[1], {run.in(i), s[1], 1}};
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
    if (!run.ok(run.shape(i).size() == 2, "wanted matrices")) return false;
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
