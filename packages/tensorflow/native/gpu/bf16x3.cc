#include "gpu/bf16x3.h"

#include <algorithm>

namespace wpo {
namespace {

// The six products of a part of a and a part of b (0 high, 1 mid, 2 low), the smallest first: 2·0, 0·2, 1·1, 1·0, 0·1,
// 0·0. Each product has four bits; the first has the lowest ones.
constexpr int kProducts = 6, kPartsOfA = 0x001102, kPartsOfB = 0x010120;

constexpr int64_t kAligned = 8;  // values that matrix units read at once
int64_t round_up(int64_t count) { return (count + kAligned - 1) / kAligned * kAligned; }

// A matrix in bf16x3 parts, packed so that each block of depths is the operand of one product.
struct Packed {
  std::shared_ptr<void> memory;
  int64_t ld, depth_stride;
  const Bf16* from(int64_t depth) const {
    return static_cast<const Bf16*>(memory.get()) + kProducts * depth * depth_stride;
  }
};

// x has `lines` of `values`, with leading dimension `ld`; the depth is either the lines or the values of a line.
Packed pack(GpuContext& ctx, const float* x, int64_t ld, int64_t lines, int64_t values, bool lines_are_depth,
            int64_t depth_block, int parts) {
  const int64_t width = lines_are_depth ? values : kProducts * values;
  const int64_t height = lines_are_depth ? kProducts * lines : lines, packed_ld = round_up(width);
  const Packed packed = {ctx.memory(height * packed_ld * static_cast<int64_t>(sizeof(Bf16))), packed_ld,
                         lines_are_depth ? packed_ld : 1};
  ctx.launch_values("pack_bf16x3", lines * (round_up(values) / kAligned), x, static_cast<Bf16*>(packed.memory.get()),
                    static_cast<int>(lines), static_cast<int>(values), ld, packed_ld, static_cast<int>(depth_block),
                    static_cast<int>(lines_are_depth), parts);
  return packed;
}

void multiply_bf16x3(GpuContext& ctx, const GemmArgs<float>& p, int64_t max_depth) {
  const int64_t blocks = (p.k + max_depth - 1) / max_depth, block = round_up((p.k + blocks - 1) / blocks);
  const Packed a = p.transpose_a ? pack(ctx, p.a, p.lda, p.k, p.m, true, block, kPartsOfA)
                                 : pack(ctx, p.a, p.lda, p.m, p.k, false, block, kPartsOfA);
  const Packed b = p.transpose_b ? pack(ctx, p.b, p.ldb, p.n, p.k, false, block, kPartsOfB)
                                 : pack(ctx, p.b, p.ldb, p.k, p.n, true, block, kPartsOfB);
  for (int64_t k = 0; k < p.k; k += block)
    ctx.device().multiply(GemmArgs<Bf16>{p.transpose_a, p.transpose_b, p.m, p.n, kProducts * std::min(block, p.k - k),
                                         a.from(k), a.ld, 0, b.from(k), b.ld, 0, k > 0 ? 1.0f : p.beta, p.c, p.ldc, 0,
                                         1});
}

}  // namespace

void multiply(GpuContext& ctx, const GemmArgs<float>& p) {
  const Bf16x3Limits limits = ctx.device().bf16x3_limits();
  const bool small = std::min({p.m, p.n, p.k}) < limits.min_side || p.m * p.n * p.k < limits.min_multiplications;
  if (p.batch > 1 || small) return ctx.device().multiply(p);
  if (std::max(p.m, p.n) * p.k <= limits.max_values) return multiply_bf16x3(ctx, p, limits.max_depth);
  // halves the longest side, so that memory for packed operands is bounded
  GemmArgs<float> first = p, second = p;
  if (p.m >= std::max(p.n, p.k)) {
    first.m = p.m / 2, second.m = p.m - first.m;
    second.a += first.m * (p.transpose_a ? 1 : p.lda);
    second.c += first.m * p.ldc;
  } else if (p.n >= p.k) {
    first.n = p.n / 2, second.n = p.n - first.n;
    second.b += first.n * (p.transpose_b ? p.ldb : 1);
    second.c += first.n;
  } else {
    first.k = p.k / 2, second.k = p.k - first.k;
    second.a += first.k * (p.transpose_a ? p.lda : 1);
    second.b += first.k * (p.transpose_b ? 1 : p.ldb);
    second.beta = 1;
  }
  multiply(ctx, first);
  multiply(ctx, second);
}

}  // namespace wpo
