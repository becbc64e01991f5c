// RMSNorm, rotary embedding, GeGLU and dropout. Inputs and outputs as in elementwise/ (norm.cc, rope.cc, geglu.cc,
// dropout.cc).
#include <algorithm>

#include "elementwise/checks.h"
#include "gpu/operation.h"

namespace wpo {
namespace {

void norm(GpuContext& ctx) {
  const RmsNormArgs args = read_rms_norm(ctx);
  const float *x = ctx.input(0), *w = ctx.input(1), *residual = args.has_residual ? ctx.input(3) : nullptr;
  float *y = ctx.output(0, ctx.shape(0)), *inverse_rms = ctx.output(1, {args.rows, 1});
  ctx.launch_rows("rms_norm", args.rows, x, w, residual, y, inverse_rms, args.width, args.epsilon);
}

void norm_gradient(GpuContext& ctx) {
  require_rms_norm_gradient(ctx);
  const int64_t n = ctx.rows(1), h = ctx.width(1);
  const float *dy = ctx.input(0), *x = ctx.input(1), *inverse_rms = ctx.input(2), *w = ctx.input(3);
  float *dx = ctx.output(0, ctx.shape(1)), *dw = ctx.output(1, {h});
  ctx.launch_rows("rms_norm_dx", n, dy, x, inverse_rms, w, dx, h);
  const int64_t pieces = std::min<int64_t>(n, 64), each = pieces ? (n + pieces - 1) / pieces : 0;
  float* sums = ctx.scratch(pieces * h);
  ctx.launch_values("rms_norm_dw", pieces * h, dy, x, inverse_rms, sums, n, h, each);
  ctx.launch_values("sum_rows", h, static_cast<const float*>(sums), dw, pieces);
}

void rope(GpuContext& ctx) {
  const float sign = read_rope_direction(ctx);
  const int64_t half = ctx.shape(0)[1] / 2, t = ctx.shape(0)[2];
  const float *x = ctx.input(0), *cos = ctx.input(1), *sin = ctx.input(2);
  ctx.launch_values("rope", ctx.size(0) / 2, x, cos, sin, ctx.output(0, ctx.shape(0)), half, t, sign);
}

void geglu(GpuContext& ctx) {
  require_geglu(ctx);
  const float *gate = ctx.input(0), *up = ctx.input(1);
  ctx.launch_values("geglu", ctx.size(0), gate, up, ctx.output(0, ctx.shape(0)));
}

void geglu_gradient(GpuContext& ctx) {
  require_geglu_gradient(ctx);
  const float *dy = ctx.input(0), *gate = ctx.input(1), *up = ctx.input(2);
  float *dgate = ctx.output(0, ctx.shape(1)), *dup = ctx.output(1, ctx.shape(2));
  ctx.launch_values("geglu_gradient", ctx.size(0), dy, gate, up, dgate, dup);
}

void dropout(GpuContext& ctx) {
  const DropoutArgs args = read_dropout(ctx);
  const int32_t* keys = ctx.upload(ctx.input<int32_t>(1), args.tokens);
  const float* x = ctx.input(0);
  const int by_feature = args.by_feature;
  ctx.launch_values("dropout", ctx.size(0), x, keys, ctx.output(0, ctx.shape(0)), args.tokens, args.features,
                    by_feature, args.threshold, args.factor);
}

}  // namespace

void register_gpu_elementwise() {
  register_gpu_kernel<norm>("WpoRmsNorm");
  register_gpu_kernel<norm_gradient>("WpoRmsNormGrad");
  register_gpu_kernel<rope>("WpoRope");
  register_gpu_kernel<geglu>("WpoGeglu");
  register_gpu_kernel<geglu_gradient>("WpoGegluGrad");
  register_gpu_kernel<dropout>("WpoDropout");
}

}  // namespace wpo
