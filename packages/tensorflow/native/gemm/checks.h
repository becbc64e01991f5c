// The checks of products' inputs that the CPU's kernels and the GPU's share.
#pragma once
#include <cmath>

#include "runtime/operation.h"

namespace wpo {

inline void require_matrices(const OpContext& ctx, int first, int count) {
  for (int i = first; i < first + count; i++)
    require(ctx.shape(i).size() >= 2, "expected matrices, found shape ", ctx.shape(i), " as input ", i);
}

// Rows and columns of both operands, as the product reads them.
struct MatrixSize {
  int64_t rows, columns;
};
inline void require_equal_depths(const MatrixSize& a, const MatrixSize& b) {
  require(a.columns == b.rows, "expected matrices whose inner sizes are equal, found ", a.rows, " x ", a.columns,
          " by ", b.rows, " x ", b.columns);
}

// Input 0, to which a product [m, n] is added. Its dimensions may be others, because heads are rows of a product.
inline void require_product_size(const OpContext& ctx, int64_t m, int64_t n) {
  require(ctx.size(0) == saturated_product(m, n), "expected a sum of the product's size ", m, " x ", n, ", found ",
          ctx.shape(0));
}

// Inputs `gate` and `gate` + 1.
inline void require_gate_and_up(const OpContext& ctx, int gate) {
  require(ctx.shape(gate) == ctx.shape(gate + 1), "expected gate and up of one shape, found ", ctx.shape(gate), " and ",
          ctx.shape(gate + 1));
  require_one_type(ctx, gate, "gate and up");
}

// Widths of x and of w, as x · wᵀ reads them.
inline void require_equal_widths(int64_t x, int64_t w) {
  require(x == w, "expected x and w of one width, found ", x, " and ", w);
}

// Input i: a number of heads, which must divide `features`.
inline int64_t read_heads(const OpContext& ctx, int i, int64_t features) {
  const float heads = *ctx.params(i, 1, "heads");
  const bool divides = heads >= 1 && heads <= static_cast<float>(features) && std::floor(heads) == heads &&
                       features % static_cast<int64_t>(heads) == 0;
  require(divides, "expected a number of heads that divides ", features, " features, found ", heads);
  return static_cast<int64_t>(heads);
}

}  // namespace wpo
