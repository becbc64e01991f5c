// The answer head's terms. Inputs and outputs as in elementwise/head.cc.
#include "elementwise/checks.h"
#include "gpu/operation.h"

namespace wpo {
namespace {

void answer_terms(GpuContext& ctx) {
  const AnswerTermsArgs args = read_answer_terms(ctx);
  float *raw = ctx.changed_input(0), *terms = ctx.output(0, {args.rows, 4});
  ctx.launch_rows("answer_terms", args.rows, raw, ctx.upload(ctx.input<int32_t>(1), args.rows), terms, args.vocabulary,
                  args.cap, static_cast<int>(args.train));
}

void cap_logits(GpuContext& ctx) {
  const float cap = read_cap(ctx);
  const float* x = ctx.input(0);
  ctx.launch_values("cap_logits", ctx.size(0), x, ctx.output(0, ctx.shape(0)), cap);
}

}  // namespace

void register_gpu_head() {
  register_gpu_kernel<answer_terms>("WpoAnswerTerms");
  register_gpu_kernel<cap_logits>("WpoCapLogits");
}

}  // namespace wpo
