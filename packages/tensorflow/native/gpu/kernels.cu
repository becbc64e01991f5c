// What the operations do on a GPU, in CUDA C++ compiled when they are first run (cuda.cc). A block is a row where a row has a
// sum or a largest value; elsewhere a thread is a value.

typedef long long int64;

#define ROW blockIdx.x
#define EACH(j, n) for (int64 j = threadIdx.x; j < (n); j += blockDim.x)
#define VALUE(i, n)                                                \
  const int64 i = blockIdx.x * (int64)blockDim.x + threadIdx.x; \
  if (i >= (n)) return

#define MOST_THREADS 256

// Every thread's x joined two by two, in one order; for blocks of a power of two.
template <class T, class Join>
__device__ T joined(T x, Join join) {
  __shared__ T values[MOST_THREADS];
  const int t = threadIdx.x;
  values[t] = x;
  for (int half = blockDim.x / 2; half > 0; half /= 2) {
    __syncthreads();
    if (t < half) values[t] = join(values[t], values[t + half]);
  }
  __syncthreads();
  const T all = values[0];
  __syncthreads();
  return all;
}

template <class T>
__device__ T block_sum(T x) {
  return joined(x, [](T a, T b) { return a + b; });
}

__device__ float block_most(float x) {
  return joined(x, [](float a, float b) { return b <= a ? a : b; });
}

#define LEAST (-3.4e38f)

extern "C" {

// y = residual + x r (1 + w), r = 1 / √(mean x² + ε)
__global__ void rms_norm(const float* x, const float* w, const float* residual, float* y, float* inverse, int64 h,
                         float epsilon) {
  const float* xi = x + ROW * h;
  float squares = 0;
  EACH(j, h) squares += xi[j] * xi[j];
  const float r = 1.0f / sqrtf(block_sum(squares) / h + epsilon);
  if (threadIdx.x == 0) inverse[ROW] = r;
  EACH(j, h) y[ROW * h + j] = (residual ? residual[ROW * h + j] : 0.0f) + xi[j] * r * (1.0f + w[j]);
}

// dx = (g − x̂ mean(g x̂)) r with g = dy (1 + w), x̂ = x r
__global__ void rms_norm_dx(const float* dy, const float* x, const float* inverse, const float* w, float* dx, int64 h) {
  const float *di = dy + ROW * h, *xi = x + ROW * h, r = inverse[ROW];
  float through = 0;
  EACH(j, h) through += di[j] * (xi[j] * r) * (1.0f + w[j]);
  const float mean = block_sum(through) / h;
  EACH(j, h) dx[ROW * h + j] = (di[j] * (1.0f + w[j]) - xi[j] * r * mean) * r;
}

// Σ dy x̂ over each piece of rows: [pieces, H]
__global__ void rms_norm_dw(const float* dy, const float* x, const float* inverse, float* sums, int64 n, int64 h,
                            int64 each, int64 total) {
  VALUE(i, total);
  const int64 piece = i / h, j = i % h, end = (piece + 1) * each < n ? (piece + 1) * each : n;
  float sum = 0;
  for (int64 row = piece * each; row < end; row++) sum += dy[row * h + j] * (x[row * h + j] * inverse[row]);
  sums[i] = sum;
}

// [pieces, H] -> [H]
__global__ void sum_rows(const float* sums, float* y, int64 pieces, int64 h) {
  VALUE(j, h);
  float sum = 0;
  for (int64 piece = 0; piece < pieces; piece++) sum += sums[piece * h + j];
  y[j] = sum;
}

// Both halves of each head [heads, D, T] turned by the tables [D, T].
__global__ void rope(const float* x, const float* cos, const float* sin, float* y, int64 half, int64 t, float sign,
                     int64 total) {
  VALUE(i, total);
  const int64 feature = i / t % half, j = i % t, first = (i / (half * t) * 2 * half + feature) * t + j;
  const int64 second = first + half * t;
  const float a = x[first], b = x[second], c = cos[feature * t + j], s = sign * sin[(feature + half) * t + j];
  y[first] = a * c - b * s;
  y[second] = b * c + a * s;
}

// gelu(g) u = g σ(z) u, z = g (a + b g²)
#define LINEAR 1.5957691216f
#define CUBIC 0.0713548162f

__global__ void geglu(const float* g, const float* u, float* y, int64 n) {
  VALUE(i, n);
  const float x = g[i];
  y[i] = x * u[i] / (1.0f + expf(-x * (LINEAR + CUBIC * x * x)));
}

__global__ void geglu_gradient(const float* d, const float* g, const float* u, float* dg, float* du, int64 n) {
  VALUE(i, n);
  const float x = g[i], x2 = x * x, s = 1.0f / (1.0f + expf(-x * (LINEAR + CUBIC * x2)));
  const float dy = d[i], up = u[i];
  du[i] = dy * x * s;
  dg[i] = dy * up * (s + x * s * (1.0f - s) * (LINEAR + 3.0f * CUBIC * x2));
}

__global__ void add(float* into, const float* x, int64 n) {
  VALUE(i, n);
  into[i] += x[i];
}

// Row `rows[b]` of `into` gets the rows order[starts[b]] … order[starts[b + 1] − 1] of x, in that order.
__global__ void add_rows(float* into, const int* rows, const int* starts, const int* order, const float* x, int64 h) {
  EACH(j, h) {
    float sum = into[rows[ROW] * h + j];
    for (int i = starts[ROW]; i < starts[ROW + 1]; i++) sum += x[order[i] * h + j];
    into[rows[ROW] * h + j] = sum;
  }
}

__global__ void set_columns(float* into, const int* columns, const float* values, int64 count, int64 n, int64 total) {
  VALUE(i, total);
  into[i / n * count + columns[i % n]] = values[i];
}

__global__ void scaled_rows(const float* x, const int* rows, float* y, int64 h, float factor) {
  EACH(j, h) y[ROW * h + j] = x[rows[ROW] * h + j] * factor;
}

// Σ x² of each block's values, as doubles
__global__ void square_sums(const float* x, double* sums, int64 n) {
  double sum = 0;
  for (int64 i = blockIdx.x * (int64)blockDim.x + threadIdx.x; i < n; i += (int64)gridDim.x * blockDim.x)
    sum += (double)x[i] * x[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) sums[ROW] = sum;
}

__global__ void sum_doubles(const double* sums, float* y, int64 n) {
  double sum = 0;
  EACH(i, n) sum += sums[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) y[0] = (float)sum;
}

// PyTorch's order and placement of epsilon, as on a processor (update.cc)
__global__ void adamw(float* p, float* m, float* v, const float* g, float scale, float beta1, float beta2, float epsilon,
                      float step, float correction, float keep, int64 n) {
  VALUE(i, n);
  const float x = g[i] * scale;
  m[i] += (x - m[i]) * (1.0f - beta1);
  v[i] = v[i] * beta2 + (1.0f - beta2) * x * x;
  p[i] = p[i] * keep - step * m[i] / (sqrtf(v[i]) / correction + epsilon);
}

// Terms [A, 4] of raw logits [A, V], which are overwritten: where it is to train by p (1 − (l / cap)²); as head.cc
__global__ void answer_terms(float* raw, const int* targets, float* terms, int64 v, float cap, int train) {
  float* x = raw + ROW * v;
  const float scale = cap > 0 ? cap : 1.0f;
  float most = LEAST;
  EACH(j, v) {
    if (cap > 0) x[j] = tanhf(x[j] / cap);
    if (!(x[j] <= most)) most = x[j];
  }
  most = block_most(most);
  double z = 0, z2 = 0;
  EACH(j, v) {
    const float e = expf(scale * (x[j] - most));
    z += e;
    z2 += (double)e * e;
  }
  z = block_sum(z);
  z2 = block_sum(z2);
  if (threadIdx.x == 0) {
    const float t = x[targets[ROW]];
    const double log_z = log(z);
    terms[4 * ROW] = (float)((double)scale * (t - most) - log_z);
    terms[4 * ROW + 1] = (float)(log(z2) - 2 * log_z);
    terms[4 * ROW + 2] = (float)-log_z;
    terms[4 * ROW + 3] = cap > 0 ? 1.0f - t * t : 1.0f;
  }
  __syncthreads();
  if (!train) return;
  const float share = (float)(1 / z);
  EACH(j, v) x[j] = expf(scale * (x[j] - most)) * share * (cap > 0 ? 1.0f - x[j] * x[j] : 1.0f);
}

__global__ void cap_logits(const float* x, float* y, float cap, int64 n) {
  VALUE(i, n);
  y[i] = cap * tanhf(x[i] / cap);
}

// One query of one head a block: q [N, D, B], k and v [K, D, C], spans [B, 2]: first column and keys. `work` [N B, longest].
__global__ void attend_one(const float* q, const float* k, const float* v, const int* spans, float* work, float* o,
                           int64 d, int64 queries, int64 columns, int64 group, int64 longest, float factor, float cap) {
  const int64 head = ROW / queries, query = ROW % queries, s = spans[2 * query + 1];
  const int64 from = head / group * d * columns + spans[2 * query], at = head * d * queries + query;
  float* p = work + ROW * longest;
  float most = LEAST;
  EACH(j, s) {
    float score = 0;
    for (int64 i = 0; i < d; i++) score += q[at + i * queries] * k[from + i * columns + j];
    score *= factor;
    p[j] = cap > 0 ? cap * tanhf(score) : score;
    if (!(p[j] <= most)) most = p[j];
  }
  most = block_most(most);
  float sum = 0;
  EACH(j, s) {
    p[j] = expf(p[j] - most);
    sum += p[j];
  }
  const float share = 1.0f / block_sum(sum);
  EACH(i, d) {
    float mixed = 0;
    for (int64 j = 0; j < s; j++) mixed += p[j] * v[from + i * columns + j];
    o[at + i * queries] = mixed * share;
  }
}

// Keys [low, high) of s that a row of scores [heads, n, s] sees
#define SEEN                                                                   \
  const int64 i = lead + ROW % n, low = i - window + 1 > 0 ? i - window + 1 : 0; \
  const int64 high = i + 1 < s ? i + 1 : s

// q·k to probabilities, in place
__global__ void soften(float* scores, int64 n, int64 s, int64 lead, int64 window, float factor, float cap) {
  SEEN;
  float* p = scores + ROW * s;
  float most = LEAST, sum = 0;
  EACH(j, s) {
    if (j < low || j >= high) continue;
    p[j] = cap > 0 ? cap * tanhf(p[j] * factor) : p[j] * factor;
    if (!(p[j] <= most)) most = p[j];
  }
  most = block_most(most);
  EACH(j, s) {
    p[j] = j < low || j >= high ? 0.0f : expf(p[j] - most);
    sum += p[j];
  }
  const float share = 1.0f / block_sum(sum);
  EACH(j, s) p[j] *= share;
}

// The way back: q·k to p, and d loss / d p to d loss / d (q·k), both in place. ds = p (dp − Σ dp p) factor, and times
// cap (1 − t²) through a cap.
__global__ void soften_gradient(float* scores, float* dp, int64 n, int64 s, int64 lead, int64 window, float factor,
                                float cap) {
  SEEN;
  float *x = scores + ROW * s, *d = dp + ROW * s;
  float most = LEAST, sum = 0, through = 0;
  EACH(j, s) {
    if (j < low || j >= high) continue;
    x[j] = cap > 0 ? tanhf(x[j] * factor) : x[j] * factor;
    if (!(x[j] <= most)) most = x[j];
  }
  most = block_most(most);
  const float scale = cap > 0 ? cap : 1.0f;
  EACH(j, s) {
    if (j < low || j >= high) continue;
    const float e = expf(scale * (x[j] - most));
    sum += e;
    through += e * d[j];
  }
  const float share = 1.0f / block_sum(sum);
  through = block_sum(through) * share;
  EACH(j, s) {
    const bool seen = j >= low && j < high;
    const float t = x[j], p = seen ? expf(scale * (t - most)) * share : 0.0f;
    d[j] = seen ? p * (d[j] - through) * factor * (cap > 0 ? cap * (1.0f - t * t) : 1.0f) : 0.0f;
    x[j] = p;
  }
}

}  // extern "C"
