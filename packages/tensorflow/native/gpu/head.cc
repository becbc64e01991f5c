// The answer head's terms. As the processor's (head.cc beside op.h).
#include "run.h"

namespace wpo {
namespace {

void answer_terms(GpuRun& run) {
  const int64_t v = run.width(0), n = run.rows(0);
  const int32_t* targets = run.in<int32_t>(1);
  bool fits = run.size(1) == n && run.size(2) == 2;
  for (int64_t i = 0; fits && i < n; i++) fits = targets[i] >= 0 && targets[i] < v;
  if (!run.ok(fits, "wanted a target below the vocabulary's size for each row")) return;
  float *raw = run.in(0), *terms = run.out(0, {n, 4});
  const float cap = run.numbers(2)[0];
  const int train = run.numbers(2)[1] != 0;
  if (terms) run.by_row("answer_terms", n, raw, run.upload(targets, n), terms, v, cap, train);
}

void cap_logits(GpuRun& run) {
  if (!run.ok(run.size(1) == 1 && run.numbers(1)[0] > 0, "wanted one cap above 0")) return;
  const float *x = run.in(0), cap = run.numbers(1)[0];
  if (float* y = run.out(0, run.shape(0))) run.by_value("cap_logits", run.size(0), x, y, cap);
}

}  // namespace

void define_gpu_head() {
  define_on_gpu<answer_terms>("WpoAnswerTerms", {"raw: float", "targets: int32", "how: int32"}, {"terms: float"});
  define_on_gpu<cap_logits>("WpoCapLogits", {"raw: float", "cap: int32"}, {"logits: float"});
}

}  // namespace wpo
