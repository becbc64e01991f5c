// The CUDA kernels, compiled when an operation first runs (nvrtc.cc). Kernels that reduce over a row use one block per
// row; the others use one thread per value.

typedef long long int64;

#define ROW blockIdx.x
#define EACH(j, n) for (int64 j = threadIdx.x; j < (n); j += blockDim.x)
#define VALUE(i, n)                                             \
  const int64 i = blockIdx.x * (int64)blockDim.x + threadIdx.x; \
  if (i >= (n)) return

#define MAX_THREADS 256
// Unrolled, so that arrays indexed by j stay in registers.
#ifdef __CUDACC__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL
#endif
#define EIGHT(j) UNROLL for (int j = 0; j < 8; j++)

// Reduces every thread's x in pairs, in a fixed order. blockDim.x must be a power of two.
template <class T, class Combine>
__device__ T block_reduce(T x, Combine combine) {
  __shared__ T values[MAX_THREADS];
  const int t = threadIdx.x;
  values[t] = x;
  for (int half = blockDim.x / 2; half > 0; half /= 2) {
    __syncthreads();
    if (t < half) values[t] = combine(values[t], values[t + half]);
  }
  __syncthreads();
  const T result = values[0];
  __syncthreads();
  return result;
}

template <class T>
__device__ T block_sum(T x) {
  return block_reduce(x, [](T a, T b) { return a + b; });
}

__device__ float block_max(float x) {
  return block_reduce(x, [](float a, float b) { return b <= a ? a : b; });
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

// Rotates both halves of each head [heads, D, T] by the tables [D, T].
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

// The random numbers of elementwise/random.h
__device__ unsigned mix_bits(unsigned x) {
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = (x ^ (x >> 15)) * 0x846ca68bu;
  return x ^ (x >> 16);
}

__device__ unsigned random_bits(unsigned key, unsigned index) {
  return mix_bits(key + index * (mix_bits(key ^ 0x5bd1e995u) | 1u));
}

__global__ void dropout(const float* x, const int* keys, float* y, int64 tokens, int64 features, int by_feature,
                        unsigned threshold, float factor, int64 n) {
  VALUE(i, n);
  const unsigned key = keys[by_feature ? i % tokens : i / features];
  const unsigned feature = by_feature ? i / tokens : i % features;
  y[i] = x[i] * (random_bits(key, feature) >= threshold ? factor : 0.0f);
}

__global__ void add(float* into, const float* x, int64 n) {
  VALUE(i, n);
  into[i] += x[i];
}

// Adds rows order[starts[b]] … order[starts[b + 1] − 1] of x, in that order, to row rows[b] of `into`.
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

__device__ float widened(unsigned short x) {
  union {
    unsigned bits;
    float value;
  } all;
  all.bits = (unsigned)x << 16;
  return all.value;
}

// Lines of `values` values, with leading dimension `ld`, without gaps.
__global__ void widen_bf16(const unsigned short* x, float* y, int64 values, int64 ld, int64 n) {
  VALUE(i, n);
  y[i] = widened(x[i / values * ld + i % values]);
}

__global__ void scaled_rows_bf16(const unsigned short* x, const int* rows, float* y, int64 h, float factor) {
  EACH(j, h) y[ROW * h + j] = widened(x[rows[ROW] * h + j]) * factor;
}

__global__ void scaled_rows(const float* x, const int* rows, float* y, int64 h, float factor) {
  EACH(j, h) y[ROW * h + j] = x[rows[ROW] * h + j] * factor;
}

// The tensor that this block belongs to: tensor i has blocks first[i] up to first[i + 1].
__device__ int tensor_of(const int* first, int tensors) {
  int low = 0;
  for (int high = tensors; high - low > 1;) {
    const int middle = (low + high) / 2;
    if (first[middle] <= (int)ROW)
      low = middle;
    else
      high = middle;
  }
  return low;
}

// Loops over a thread's values of block `block`, for a tensor of n values with `each` values per block.
#define EACH_OF_BLOCK(i, block, n)                                               \
  const int64 last = ((int64)(block) + 1) * each, end = last < (n) ? last : (n); \
  for (int64 i = (int64)(block) * each + threadIdx.x; i < end; i += blockDim.x)

// A parameter's value, which an update changes (elementwise/updates.h and updated-value.h). The host has the same
// struct.
struct UpdatedValue {
  float* values;
  unsigned short* high;
  short* low;
  unsigned key;
};

__device__ float value_at(const UpdatedValue& from, int64 i) {
  if (from.values) return from.values[i];
  union {
    unsigned bits;
    float value;
  } all;
  all.bits = ((unsigned)from.high[i] << 16) + (from.low ? (unsigned)(int)from.low[i] : 0u);
  return all.value;
}

__device__ void set_value(const UpdatedValue& to, int64 i, float x) {
  if (to.values) {
    to.values[i] = x;
    return;
  }
  union {
    float value;
    unsigned bits;
  } all;
  all.value = x;
  const unsigned magnitude = all.bits & 0x7fffffffu;
  const bool is_nan = magnitude > 0x7f800000u;
  const unsigned added = to.low ? 0x8000u : magnitude < 0x7f800000u ? random_bits(to.key, (unsigned)i) >> 16 : 0u;
  to.high[i] = (unsigned short)(is_nan ? all.bits >> 16 | 0x40u : (all.bits + added) >> 16);
  if (to.low) to.low[i] = (short)(is_nan ? 0u : all.bits);
}

// Σ x² of each block's values, as doubles. `narrow` says which tensors are bfloat16.
__global__ void square_sums(const float* const* x, const int* narrow, const int* first, const int64* sizes,
                            double* sums, int tensors, int64 each) {
  const int tensor = tensor_of(first, tensors);
  const unsigned short* bits = (const unsigned short*)x[tensor];
  double sum = 0;
  EACH_OF_BLOCK(i, ROW - first[tensor], sizes[tensor]) {
    const float value = narrow[tensor] ? widened(bits[i]) : x[tensor][i];
    sum += (double)value * value;
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) sums[ROW] = sum;
}

__global__ void sum_doubles(const double* sums, const int* first, float* y) {
  double sum = 0;
  for (int i = first[ROW] + threadIdx.x; i < first[ROW + 1]; i += blockDim.x) sum += sums[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) y[ROW] = (float)sum;
}

// PyTorch's order and placement of epsilon, as on the CPU (elementwise/optimizer.cc). For each parameter: the three
// addresses of its value, both moments, gradient.
__global__ void adamw(float* const* tensors, const unsigned* keys, const int* first, const int64* sizes, int parameters,
                      float scale, float one_minus_beta1, float beta2, float one_minus_beta2, float epsilon,
                      float step_size, float bias_correction2_sqrt, float decay_factor, int64 each) {
  const int parameter = tensor_of(first, parameters);
  float* const* of_one = tensors + 6 * parameter;
  const UpdatedValue p = {of_one[0], (unsigned short*)of_one[1], (short*)of_one[2], keys[parameter]};
  float *m = of_one[3], *v = of_one[4];
  const float* g = of_one[5];
  EACH_OF_BLOCK(i, ROW - first[parameter], sizes[parameter]) {
    const float x = g[i] * scale;
    m[i] += (x - m[i]) * one_minus_beta1;
    v[i] = v[i] * beta2 + one_minus_beta2 * x * x;
    set_value(p, i, value_at(p, i) * decay_factor - step_size * m[i] / (sqrtf(v[i]) / bias_correction2_sqrt + epsilon));
  }
}

// p ← p decay_factor − lr sign(β₁ m + (1 − β₁) g); m ← β₂ m + (1 − β₂) g
__global__ void lion(UpdatedValue p, float* m, const float* g, float scale, float beta1, float one_minus_beta1,
                     float beta2, float one_minus_beta2, float learning_rate, float decay_factor, int64 n) {
  VALUE(i, n);
  const float x = g[i] * scale, direction = m[i] * beta1 + x * one_minus_beta1;
  const float step = direction > 0 ? learning_rate : direction < 0 ? -learning_rate : 0 * direction;
  set_value(p, i, value_at(p, i) * decay_factor - step);
  m[i] = m[i] * beta2 + x * one_minus_beta2;
}

// p ← p − lr (g + λ p)
__global__ void sgd(UpdatedValue p, const float* g, float scale, float learning_rate, float weight_decay, int64 n) {
  VALUE(i, n);
  const float x = value_at(p, i);
  set_value(p, i, x - learning_rate * (g[i] * scale + weight_decay * x));
}

// The code of a value that is divided by its block's largest, as in elementwise/adamw-8bit.cc.
__device__ unsigned char code_of(float x, const unsigned char* table) {
  const float at_most = x < 1.0f ? x : 1.0f, in_range = at_most > -1.0f ? at_most : -1.0f;
  return table[(int)((in_range + 1.0f) * (65535 / 2.0f) + 0.5f)];
}

// Replaces 256 codes of values by those of `values`, and their scale.
__device__ void encode(const float* values, int64 n, unsigned char* codes, float* absmax, const unsigned char* table) {
  float most = 0;
  EACH(j, n) most = fabsf(values[j]) > most ? fabsf(values[j]) : most;
  most = block_max(most);
  const float scale = most > 0 ? 1.0f / most : 0.0f;
  EACH(j, n) codes[j] = most > 0 ? code_of(values[j] * scale, table) : 0;
  if (threadIdx.x == 0) *absmax = most;
}

// AdamW on a block of 256 values with encoded moments. The second moment is `second`, or encoded where this is null.
__global__ void adamw_8bit(UpdatedValue p, unsigned char* first_codes, float* first_absmax, unsigned char* second_codes,
                           float* second_absmax, float* second, const float* g, const float* signed_map,
                           const float* unsigned_map, const unsigned char* signed_table,
                           const unsigned char* unsigned_table, float scale, float one_minus_beta1, float beta2,
                           float one_minus_beta2, float epsilon, float step_size, float bias_correction2_sqrt,
                           float decay_factor, int64 size) {
  __shared__ float first_values[256], second_values[256];
  const int64 at = ROW * (int64)256, n = size - at < 256 ? size - at : 256;
  unsigned char *const m_codes = first_codes + at, *const v_codes = second_codes + at;
  const float m_absmax = first_absmax[ROW], v_absmax = second ? 0.0f : second_absmax[ROW];
  EACH(j, n) {
    const float x = g[at + j] * scale;
    float m = signed_map[m_codes[j]] * m_absmax;
    float v = second ? second[at + j] : unsigned_map[v_codes[j]] * v_absmax;
    m += (x - m) * one_minus_beta1;
    v = v * beta2 + one_minus_beta2 * x * x;
    set_value(p, at + j,
              value_at(p, at + j) * decay_factor - step_size * m / (sqrtf(v) / bias_correction2_sqrt + epsilon));
    first_values[j] = m;
    if (second)
      second[at + j] = v;
    else
      second_values[j] = v;
  }
  __syncthreads();  // every thread has read the block's scales
  encode(first_values, n, m_codes, first_absmax + ROW, signed_table);
  if (!second) encode(second_values, n, v_codes, second_absmax + ROW, unsigned_table);
}

#define SQUARE_EPSILON 1e-30f

// Moves the average of squares of each row [rows, width] towards its mean.
__global__ void adafactor_rows(const float* g, float* averages, int64 width, float scale, float beta2,
                               float one_minus_beta2) {
  double sum = 0;
  EACH(j, width) {
    const float x = g[ROW * width + j] * scale;
    sum += x * x + SQUARE_EPSILON;
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) averages[ROW] = averages[ROW] * beta2 + one_minus_beta2 * (float)(sum / width);
}

// Σ of squares over `each` rows of each column: sums [pieces, width]
__global__ void adafactor_column_sums(const float* g, double* sums, int64 rows, int64 width, int64 each, float scale) {
  const int64 begin = ROW * each, end = begin + each < rows ? begin + each : rows;
  EACH(j, width) {
    double sum = 0;
    for (int64 i = begin; i < end; i++) {
      const float x = g[i * width + j] * scale;
      sum += x * x + SQUARE_EPSILON;
    }
    sums[ROW * width + j] = sum;
  }
}

// Moves the averages of columns, and makes their factors of the update.
__global__ void adafactor_columns(const double* sums, float* averages, float* factors, int64 pieces, int64 rows,
                                  float beta2, float one_minus_beta2, int64 width) {
  VALUE(j, width);
  double sum = 0;
  for (int64 piece = 0; piece < pieces; piece++) sum += sums[piece * width + j];
  averages[j] = averages[j] * beta2 + one_minus_beta2 * (float)(sum / rows);
  factors[j] = 1 / sqrtf(averages[j]);
}

// The factors of rows, in one block.
__global__ void adafactor_row_factors(const float* averages, float* factors, int64 rows) {
  double sum = 0;
  EACH(i, rows) sum += averages[i];
  const double mean = block_sum(sum) / rows;
  EACH(i, rows) factors[i] = (float)(1 / sqrt(averages[i] / mean));
}

// Σ u² of each row, u = g r c
__global__ void adafactor_squares(const float* g, const float* r, const float* c, double* sums, int64 width,
                                  float scale) {
  double sum = 0;
  EACH(j, width) {
    const float u = g[ROW * width + j] * scale * r[ROW] * c[j];
    sum += u * u;
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) sums[ROW] = sum;
}

// The learning rate, divided by the root mean square of an update of `size` values where this is above 1. One block.
__global__ void adafactor_rate(const double* sums, float* rate, int64 count, int64 size, float learning_rate) {
  double sum = 0;
  EACH(i, count) sum += sums[i];
  const double rms = sqrt(block_sum(sum) / size);
  if (threadIdx.x == 0) *rate = (float)(learning_rate / (rms > 1 ? rms : 1.0));
}

// Of one matrix, whose values are p's from `start` on.
__global__ void adafactor_change(UpdatedValue p, int64 start, const float* g, const float* r, const float* c,
                                 const float* rate, int64 width, float scale, float decay_factor, int64 n) {
  VALUE(i, n);
  const float x = value_at(p, start + i);
  set_value(p, start + i, x * decay_factor - g[i] * scale * r[i / width] * c[i % width] * *rate);
}

// Of a vector: moves the averages, in one block, and makes the rate.
__global__ void adafactor_vector(const float* g, float* averages, float* rate, int64 n, float scale, float beta2,
                                 float one_minus_beta2, float learning_rate) {
  double sum = 0;
  EACH(i, n) {
    const float x = g[i] * scale;
    averages[i] = averages[i] * beta2 + one_minus_beta2 * (x * x + SQUARE_EPSILON);
    sum += (double)x / sqrtf(averages[i]) * (x / sqrtf(averages[i]));
  }
  const double rms = sqrt(block_sum(sum) / n);
  if (threadIdx.x == 0) *rate = (float)(learning_rate / (rms > 1 ? rms : 1.0));
}

__global__ void adafactor_change_vector(UpdatedValue p, const float* g, const float* averages, const float* rate,
                                        float scale, float decay_factor, int64 n) {
  VALUE(i, n);
  set_value(p, i, value_at(p, i) * decay_factor - g[i] * scale / sqrtf(averages[i]) * *rate);
}

// Terms [A, 4] of raw logits [A, V]. In training the logits are overwritten by p (1 − (l / cap)²). As
// elementwise/head.cc.
__global__ void answer_terms(float* raw, const int* targets, float* terms, int64 v, float cap, int train) {
  float* x = raw + ROW * v;
  const float scale = cap > 0 ? cap : 1.0f;
  float most = LEAST;
  EACH(j, v) {
    if (cap > 0) x[j] = tanhf(x[j] / cap);
    if (!(x[j] <= most)) most = x[j];
  }
  most = block_max(most);
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

// Splits off x's next part: returns the nearest bfloat16 and leaves the remainder in x. NaN stays NaN.
__device__ unsigned short split_off(float* x) {
  union {
    float value;
    unsigned bits;
  } all, upper;
  all.value = *x;
  const bool finite = (all.bits & 0x7f800000u) != 0x7f800000u;
  const unsigned nearest =
      finite ? all.bits + 0x7fffu + (all.bits >> 16 & 1) : all.bits | (all.bits << 16 ? 0x400000u : 0);
  upper.bits = nearest & 0xffff0000u;
  *x -= upper.value;
  return (unsigned short)(nearest >> 16);
}

// x, or the nearest bfloat16 if it `rounds`.
__device__ float operand(float x, int rounds) { return rounds ? widened(split_off(&x)) : x; }

// Rounds lines of `values`, with leading dimension `ld`, to the nearest bfloat16. y has leading dimension `to_ld`.
__global__ void round_bf16(const float* x, unsigned short* y, int64 values, int64 ld, int64 to_ld, int64 n) {
  VALUE(i, n);
  float value = x[i / values * ld + i % values];
  y[i / values * to_ld + i % values] = split_off(&value);
}

// Value i of float32 or, if `narrow`, bfloat16 values.
__device__ float either(const void* x, int narrow, int64 i) {
  return narrow ? widened(((const unsigned short*)x)[i]) : ((const float*)x)[i];
}

// Rounds rows of `values` to the nearest bfloat16, with zeros after each, up to `padded` values.
__global__ void round_padded_bf16(const void* x, int narrow, unsigned short* y, int64 values, int64 padded, int64 n) {
  VALUE(i, n);
  float value = i % padded < values ? either(x, narrow, i / padded * values + i % padded) : 0.0f;
  y[i] = split_off(&value);
}

// Σ dy · o over the features of a query, with dy rounded to bfloat16: [heads, d, t] -> [heads, t]
__global__ void attention_deltas(const void* dy, int narrow_dy, const void* o, int narrow_o, float* deltas, int64 d,
                                 int64 t, int64 n) {
  VALUE(i, n);
  const int64 first = i / t * d * t + i % t;
  float sum = 0;
  for (int64 j = first; j < first + d * t; j += t) sum += operand(either(dy, narrow_dy, j), 1) * either(o, narrow_o, j);
  deltas[i] = sum;
}

// Packs a matrix for split-bfloat16 products: each value's high, mid or low part at some places. `parts` says which
// part (0, 1, 2) goes to each place, four bits a place. x is float32 or, if `narrow`, bfloat16, and has leading
// dimension `ld`, y has `packed_ld`. The depth, which is the lines or the values of a line, is cut into blocks; a block
// has its places one after the other. A thread packs eight values of a line.
__global__ void pack_bf16x3(const void* x, int narrow, unsigned short* y, int lines, int values, int64 ld,
                            int64 packed_ld, int depth_block, int lines_are_depth, int places, int parts, int64 total) {
  VALUE(i, total);
  const int groups = (values + 7) / 8, line = (int)i / groups, first = (int)i % groups * 8;
  const int count = values - first < 8 ? values - first : 8;
  const float* from = (const float*)x + line * ld + first;
  union {
    float4 halves[2];
    float each[8];
  } rest;
  if (narrow) {
    const unsigned short* bits = (const unsigned short*)x + line * ld + first;
    EIGHT(j) rest.each[j] = j < count ? widened(bits[j]) : 0.0f;
  } else if (count == 8 && ((size_t)from & 15) == 0) {
    rest.halves[0] = ((const float4*)from)[0];
    rest.halves[1] = ((const float4*)from)[1];
  } else {
    EIGHT(j) rest.each[j] = j < count ? from[j] : 0.0f;
  }
  union {
    uint4 all;
    unsigned short each[8];
  } high, mid, low;
  EIGHT(j) {
    high.each[j] = split_off(&rest.each[j]);
    mid.each[j] = split_off(&rest.each[j]);
    low.each[j] = split_off(&rest.each[j]);
  }
  const int depth = lines_are_depth ? lines : values, at = lines_are_depth ? line : first,
            start = at / depth_block * depth_block;
  const int block_depth = depth - start < depth_block ? depth - start : depth_block;
  for (int place = 0; place < places; place++) {
    const int part = parts >> 4 * place & 3, to = (places - 1) * start + at + place * block_depth;
    unsigned short* there = lines_are_depth ? y + to * packed_ld + first : y + line * packed_ld + to;
    if (count == 8 && ((size_t)there & 15) == 0) {
      *(uint4*)there = part == 0 ? high.all : part == 1 ? mid.all : low.all;
    } else {
      EIGHT(j) if (j < count) there[j] = part == 0 ? high.each[j] : part == 1 ? mid.each[j] : low.each[j];
    }
  }
}

// y = Σ parts of x + beta · y, for rows of y of `columns` values, with leading dimension `ld`.
__global__ void sum_parts(const float* x, float* y, int64 columns, int64 ld, int64 row_stride, int64 column_stride,
                          int64 part_stride, int parts, float beta, int64 n) {
  VALUE(i, n);
  const int64 row = i / columns, column = i % columns;
  const float* part = x + row * row_stride + column * column_stride;
  float sum = 0;
  for (int p = 0; p < parts; p++) sum += part[p * part_stride];
  float* to = y + row * ld + column;
  *to = beta == 0 ? sum : sum + beta * *to;
}

__global__ void cap_logits(const float* x, float* y, float cap, int64 n) {
  VALUE(i, n);
  y[i] = cap * tanhf(x[i] / cap);
}

// One query of one head per block: q [N, D, B], k and v [K, D, C], ranges [B, 2]: first key column and number of keys.
// `work` [N B, longest]. Operands of products are rounded to bfloat16 if `rounds`.
__global__ void decode_attention(const float* q, const float* k, const float* v, const int* ranges, float* work,
                                 float* o, int64 d, int64 queries, int64 columns, int64 group, int64 longest,
                                 float factor, float cap, int rounds) {
  const int64 head = ROW / queries, query = ROW % queries, s = ranges[2 * query + 1];
  const int64 from = head / group * d * columns + ranges[2 * query], at = head * d * queries + query;
  float* p = work + ROW * longest;
  float most = LEAST;
  EACH(j, s) {
    float score = 0;
    for (int64 i = 0; i < d; i++)
      score += operand(q[at + i * queries], rounds) * operand(k[from + i * columns + j], rounds);
    score *= factor;
    p[j] = cap > 0 ? cap * tanhf(score) : score;
    if (!(p[j] <= most)) most = p[j];
  }
  most = block_max(most);
  float sum = 0;
  EACH(j, s) {
    p[j] = expf(p[j] - most);
    sum += p[j];
  }
  const float share = 1.0f / block_sum(sum);
  EACH(i, d) {
    float mixed = 0;
    for (int64 j = 0; j < s; j++)
      mixed += (rounds ? operand(p[j] * share, 1) : p[j]) * operand(v[from + i * columns + j], rounds);
    o[at + i * queries] = rounds ? mixed : mixed * share;
  }
}

// Whether a row of scores [heads, n, s] sees score j: `visible` has two ranges for each of n rows, as begin and end.
#define VISIBLE_RANGES_OF_ROW const int4 visible_ranges = ((const int4*)visible)[ROW % n]
#define SEES(j) \
  (((j) >= visible_ranges.x && (j) < visible_ranges.y) || ((j) >= visible_ranges.z && (j) < visible_ranges.w))

// Turns q·k into probabilities, in place.
__global__ void softmax(float* scores, const int* visible, int64 n, int64 s, float factor, float cap) {
  VISIBLE_RANGES_OF_ROW;
  float* p = scores + ROW * s;
  float most = LEAST, sum = 0;
  EACH(j, s) {
    if (!SEES(j)) continue;
    p[j] = cap > 0 ? cap * tanhf(p[j] * factor) : p[j] * factor;
    if (!(p[j] <= most)) most = p[j];
  }
  most = block_max(most);
  EACH(j, s) {
    p[j] = SEES(j) ? expf(p[j] - most) : 0.0f;
    sum += p[j];
  }
  const float share = 1.0f / block_sum(sum);
  EACH(j, s) p[j] *= share;
}

// Backward: turns q·k into p, and d loss / d p into d loss / d (q·k), both in place. ds = p (dp − Σ dp p) factor, and
// with a cap also times cap (1 − t²).
__global__ void softmax_gradient(float* scores, float* dp, const int* visible, int64 n, int64 s, float factor,
                                 float cap) {
  VISIBLE_RANGES_OF_ROW;
  float *x = scores + ROW * s, *d = dp + ROW * s;
  float most = LEAST, sum = 0, through = 0;
  EACH(j, s) {
    if (!SEES(j)) continue;
    x[j] = cap > 0 ? tanhf(x[j] * factor) : x[j] * factor;
    if (!(x[j] <= most)) most = x[j];
  }
  most = block_max(most);
  const float scale = cap > 0 ? cap : 1.0f;
  EACH(j, s) {
    if (!SEES(j)) continue;
    const float e = expf(scale * (x[j] - most));
    sum += e;
    through += e * d[j];
  }
  const float share = 1.0f / block_sum(sum);
  through = block_sum(through) * share;
  EACH(j, s) {
    const bool sees = SEES(j);
    const float t = x[j], p = sees ? expf(scale * (t - most)) * share : 0.0f;
    d[j] = sees ? p * (d[j] - through) * factor * (cap > 0 ? cap * (1.0f - t * t) : 1.0f) : 0.0f;
    x[j] = p;
  }
}

}  // extern "C"
