#include "gpu/bf16x3.h"

#include <algorithm>
#include <type_traits>

namespace wpo {
namespace {

// The products of a part of a and a part of b (0 high, 1 mid, 2 low), the smallest first. Each product has four bits;
// the first has the lowest ones.
struct PartProducts {
  int count, parts_of_a, parts_of_b;
};
constexpr PartProducts kSix = {6, 0x001102, 0x010120};  // 2·0, 0·2, 1·1, 1·0, 0·1, 0·0
constexpr int kParts = 3, kLowToHigh = 0x012;
constexpr PartProducts kNarrowA = {kParts, 0x000, kLowToHigh}, kNarrowB = {kParts, kLowToHigh, 0x000};
constexpr PartProducts kNarrow = {1, 0, 0};

PartProducts products_of(Type a, Type b) {
  const bool narrow_a = a == Type::kBfloat16, narrow_b = b == Type::kBfloat16;
  return narrow_a && narrow_b ? kNarrow : narrow_a ? kNarrowA : narrow_b ? kNarrowB : kSix;
}

constexpr int64_t kAligned = 8;  // values that matrix units read at once
int64_t round_up(int64_t count) { return (count + kAligned - 1) / kAligned * kAligned; }

// A matrix in bf16x3 parts, packed so that each block of depths is the operand of one product.
struct Packed {
  std::shared_ptr<void> memory;
  int64_t ld, depth_stride;  // the stride of a depth with all its places
  const Bf16* from(int64_t depth) const { return static_cast<const Bf16*>(memory.get()) + depth * depth_stride; }
};

// x has `lines` of `values`, with leading dimension `ld`; the depth is either the lines or the values of a line.
Packed pack(GpuContext& ctx, const TypedMatrix& x, int64_t ld, int64_t lines, int64_t values, bool lines_are_depth,
            int64_t depth_block, int places, int parts) {
  const int64_t width = lines_are_depth ? values : places * values;
  const int64_t height = lines_are_depth ? places * lines : lines, packed_ld = round_up(width);
  const Packed packed = {ctx.memory(height * packed_ld * static_cast<int64_t>(sizeof(Bf16))), packed_ld,
                         places * (lines_are_depth ? packed_ld : 1)};
  ctx.launch_values("pack_bf16x3", lines * (round_up(values) / kAligned), x.data,
                    static_cast<int>(x.type == Type::kBfloat16), static_cast<Bf16*>(packed.memory.get()),
                    static_cast<int>(lines), static_cast<int>(values), ld, packed_ld, static_cast<int>(depth_block),
                    static_cast<int>(lines_are_depth), places, parts);
  return packed;
}

void multiply_bf16x3(GpuContext& ctx, const TypedGemmArgs& p, int64_t max_depth) {
  const PartProducts products = products_of(p.a.type, p.b.type);
  const int64_t blocks = (p.k + max_depth - 1) / max_depth, block = round_up((p.k + blocks - 1) / blocks);
  const int places = products.count, parts_a = products.parts_of_a, parts_b = products.parts_of_b;
  const Packed a = p.transpose_a ? pack(ctx, p.a, p.lda, p.k, p.m, true, block, places, parts_a)
                                 : pack(ctx, p.a, p.lda, p.m, p.k, false, block, places, parts_a);
  const Packed b = p.transpose_b ? pack(ctx, p.b, p.ldb, p.n, p.k, false, block, places, parts_b)
                                 : pack(ctx, p.b, p.ldb, p.k, p.n, true, block, places, parts_b);
  for (int64_t k = 0; k < p.k; k += block)
    ctx.device().multiply(GemmArgs<Bf16>{p.transpose_a, p.transpose_b, p.m, p.n, places * std::min(block, p.k - k),
                                         a.from(k), a.ld, 0, b.from(k), b.ld, 0, k > 0 ? 1.0f : p.beta, p.c, p.ldc, 0,
                                         1});
}

// Whether one operand is bfloat16, and the parts of the other, the float32 one, can be rows of one product: its depth
// must be the values of a line, without a gap between the parts.
bool stacks(const TypedGemmArgs& p) {
  const bool splits_a = p.a.type == Type::kFloat32, splits_b = p.b.type == Type::kFloat32;
  return splits_a != splits_b && (splits_a ? !p.transpose_a : p.transpose_b) && p.k % kAligned == 0;
}
// Values of the larger one of its temporary matrices.
int64_t stacked_values(const TypedGemmArgs& p) {
  return kParts * std::max(p.m * p.n, (p.a.type == Type::kFloat32 ? p.m : p.n) * p.k);
}

// The product of a few rows of float32 and a bfloat16 matrix, which is read once. Each row's parts are rows of one
// bfloat16 product, whose results are added.
void multiply_stacked(GpuContext& ctx, const TypedGemmArgs& p, int64_t max_depth) {
  const bool splits_a = p.a.type == Type::kFloat32;
  const int64_t of_a = splits_a ? kParts : 1, of_b = splits_a ? 1 : kParts;
  const Packed x = splits_a ? pack(ctx, p.a, p.lda, p.m, p.k, false, p.k, kParts, kLowToHigh)
                            : pack(ctx, p.b, p.ldb, p.n, p.k, false, p.k, kParts, kLowToHigh);
  const auto rows = [&](int64_t k) { return TypedMatrix{x.memory.get(), Type::kBfloat16}.from(k); };
  const int64_t ld = of_b * p.n;
  const std::shared_ptr<void> memory = ctx.memory(of_a * p.m * ld * static_cast<int64_t>(sizeof(float)));
  float* y = static_cast<float*>(memory.get());
  for (int64_t k = 0; k < p.k; k += max_depth) {
    const TypedMatrix a = splits_a ? rows(k) : p.a.from(k * (p.transpose_a ? p.lda : 1));
    const TypedMatrix b = splits_a ? p.b.from(k * (p.transpose_b ? 1 : p.ldb)) : rows(k);
    ctx.device().multiply(GemmArgs<Bf16>{p.transpose_a, p.transpose_b, of_a * p.m, ld, std::min(max_depth, p.k - k),
                                         static_cast<const Bf16*>(a.data), splits_a ? p.k : p.lda, 0,
                                         static_cast<const Bf16*>(b.data), splits_a ? p.ldb : p.k, 0,
                                         k > 0 ? 1.0f : 0.0f, y, ld, 0, 1});
  }
  ctx.launch_values("sum_parts", p.m * p.n, static_cast<const float*>(y), p.c, p.n, p.ldc, of_a * ld, of_b,
                    splits_a ? ld : 1, kParts, p.beta);
}

// An operand as it is stored, `lines` of `values`, in type T: float32 is rounded to bfloat16, bfloat16 is widened.
template <class T>
struct Converted {
  std::shared_ptr<void> memory;
  const T* data;
  int64_t ld;
};
void convert(GpuContext& ctx, const void* x, int64_t lines, int64_t values, int64_t ld, float* y, int64_t) {
  ctx.widen(static_cast<const Bf16*>(x), lines, values, ld, y);
}
void convert(GpuContext& ctx, const void* x, int64_t lines, int64_t values, int64_t ld, Bf16* y, int64_t to_ld) {
  ctx.round(static_cast<const float*>(x), lines, values, ld, y, to_ld);
}
template <class T>
Converted<T> operand_as(GpuContext& ctx, const TypedMatrix& x, int64_t lines, int64_t values, int64_t ld) {
  constexpr bool kIsFloat = std::is_same_v<T, float>;
  if ((x.type == Type::kFloat32) == kIsFloat) return {nullptr, static_cast<const T*>(x.data), ld};
  const int64_t to_ld = kIsFloat ? values : round_up(values);
  const std::shared_ptr<void> memory = ctx.memory(lines * to_ld * static_cast<int64_t>(sizeof(T)));
  T* y = static_cast<T*>(memory.get());
  convert(ctx, x.data, lines, values, ld, y, to_ld);
  return {memory, y, to_ld};
}

// One product of operands in type T.
template <class T>
void multiply_as(GpuContext& ctx, const TypedGemmArgs& p) {
  const auto a = p.transpose_a ? operand_as<T>(ctx, p.a, p.k, p.m, p.lda) : operand_as<T>(ctx, p.a, p.m, p.k, p.lda);
  const auto b = p.transpose_b ? operand_as<T>(ctx, p.b, p.n, p.k, p.ldb) : operand_as<T>(ctx, p.b, p.k, p.n, p.ldb);
  ctx.device().multiply(GemmArgs<T>{p.transpose_a, p.transpose_b, p.m, p.n, p.k, a.data, a.ld, 0, b.data, b.ld, 0,
                                    p.beta, p.c, p.ldc, 0, 1});
}

}  // namespace

void multiply(GpuContext& ctx, const GemmArgs<float>& p) {
  if (p.batch > 1) return ctx.device().multiply(p);
  multiply(ctx, TypedGemmArgs{p.transpose_a,
                              p.transpose_b,
                              p.m,
                              p.n,
                              p.k,
                              {p.a, Type::kFloat32},
                              p.lda,
                              {p.b, Type::kFloat32},
                              p.ldb,
                              p.beta,
                              p.c,
                              p.ldc});
}

void multiply(GpuContext& ctx, const TypedGemmArgs& p) {
  const Bf16x3Limits limits = ctx.device().bf16x3_limits();
  const bool small = std::min({p.m, p.n, p.k}) < limits.min_side || p.m * p.n * p.k < limits.min_multiplications;
  const bool float32 = p.a.type == Type::kFloat32 && p.b.type == Type::kFloat32;
  const bool rounds = ctx.precision() == Precision::kBfloat16;
  if (small && float32 && !rounds) return multiply_as<float>(ctx, p);
  const bool stacked = small && !rounds && limits.has_fast_bf16 && stacks(p);
  const bool fits = (stacked ? stacked_values(p) : std::max(p.m, p.n) * p.k) <= limits.max_values;
  if (fits || (p.m == 1 && p.n == 1 && p.k == 1)) {
    if (rounds) return multiply_as<Bf16>(ctx, p);
    if (stacked) return multiply_stacked(ctx, p, limits.max_depth);
    return small ? multiply_as<float>(ctx, p) : multiply_bf16x3(ctx, p, limits.max_depth);
  }
  // halves the longest side, so that memory for packed operands is bounded
  TypedGemmArgs first = p, second = p;
  if (p.m >= std::max(p.n, p.k)) {
    first.m = p.m / 2, second.m = p.m - first.m;
    second.a = p.a.from(first.m * (p.transpose_a ? 1 : p.lda));
    second.c += first.m * p.ldc;
  } else if (p.n >= p.k) {
    first.n = p.n / 2, second.n = p.n - first.n;
    second.b = p.b.from(first.n * (p.transpose_b ? p.ldb : 1));
    second.c += first.n;
  } else {
    first.k = p.k / 2, second.k = p.k - first.k;
    second.a = p.a.from(first.k * (p.transpose_a ? p.lda : 1));
    second.b = p.b.from(first.k * (p.transpose_b ? 1 : p.ldb));
    second.beta = 1;
  }
  multiply(ctx, first);
  multiply(ctx, second);
}

}  // namespace wpo
