// Generation's kept keys and values: new columns written in place, and attention of one query a sequence over them.
#include <vector>
#include "op.h"
#include "parallel.h"
#include "spans.h"
#include "vector-math.h"

namespace wpo {
namespace {

// into [K, D, C] (changed), columns [n], values [K, D, n] -> done []
void set_columns(Run& run) {
  const int64_t count = run.width(0), n = run.size(1), rows = run.rows(0);
  const int32_t* columns = run.in<int32_t>(1);
  bool fits = run.size(2) == rows * n;
  for (int64_t i = 0; fits && i < n; i++) fits = columns[i] >= 0 && columns[i] < count;
  if (!run.ok(fits, "wanted a column of values for each index, and indices below the column count")) return;
  float* into = run.in(0);
  const float* values = run.in(2);
  parallel(rows, n, [=](int64_t a, int64_t b, int) {
    for (int64_t row = a; row < b; row++)
      for (int64_t i = 0; i < n; i++) into[row * count + columns[i]] = values[row * n + i];
  });
  if (float* done = run.out(0, {})) *done = 0;
}

// One query of one head: q [D] with stride `queries`, k and v [D, C] from the span's first column, s keys; o like q.
WPO_VECTOR void attend(int64_t d, int64_t count, int64_t queries, int64_t s, float factor, float cap, const float* q,
                       const float* k, const float* v, float* p, float* o) {
  for (int64_t j = 0; j < s; j++) p[j] = 0.0f;
  for (int64_t i = 0; i < d; i++) {
    const float qi = q[i * queries] * factor;
    const float* ki = k + i * count;
    for (int64_t j = 0; j < s; j++) p[j] += qi * ki[j];
  }
  if (cap > 0) {
    for (int64_t j = 0; j < s; j++) p[j] = fast_exp(cap * (fast_tanh(p[j]) - 1.0f));
  } else {
    float most = p[0];
    for (int64_t j = 1; j < s; j++) most = p[j] > most ? p[j] : most;
    for (int64_t j = 0; j < s; j++) p[j] = fast_exp(p[j] - most);
  }
  const float share = 1.0f / sum_of(0, s, [=](int64_t j) WPO_TERM { return p[j]; });
  for (int64_t i = 0; i < d; i++) {
    const float* vi = v + i * count;
    o[i * queries] = share * sum_of(0, s, [=](int64_t j) WPO_TERM { return p[j] * vi[j]; });
  }
}

// q [N, D, B], k and v [K, D, C], spans [B, 2]: first column and keys of each query; [factor, cap or 0] -> o [N, D, B]
void attend_one(Run& run) {
  int64_t longest = 0;
  if (!read_single_attention(run, &longest)) return;
  const Shape q_shape = run.shape(0), k_shape = run.shape(1);
  const int32_t* spans = run.in<int32_t>(3);
  const int64_t heads = q_shape[0], d = q_shape[1], queries = q_shape[2], count = k_shape[2];
  const int64_t group = heads / k_shape[0];
  const float *q = run.in(0), *k = run.in(1), *v = run.in(2), factor = run.numbers(4)[0], cap = run.numbers(4)[1];
  float* o = run.out(0, q_shape);
  if (!o) return;
  std::vector<float> scores(static_cast<size_t>(threads()) * longest);
  float* scratch = scores.data();
  parallel(heads * queries, 2 * d * longest, [=](int64_t a, int64_t b, int thread) {
    for (int64_t i = a; i < b; i++) {
      const int64_t head = i / queries, query = i % queries, from = head / group * d * count + spans[2 * query];
      const int64_t at = head * d * queries + query;
      attend(d, count, queries, spans[2 * query + 1], factor, cap, q + at, k + from, v + from,
             scratch + thread * longest, o + at);
    }
  });
}

}  // namespace

void define_cache() {
  define<set_columns>("WpoSetColumns", {"into: float", "columns: int32", "values: float"}, {"done: float"});
  define<attend_one>("WpoAttendOne", {"q: float", "k: float", "v: float", "spans: int32", "how: int32"}, {"o: float"});
}

}  // namespace wpo
