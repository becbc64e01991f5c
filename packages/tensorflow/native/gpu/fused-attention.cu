// Attention without a matrix of scores: a kernel for the output, one for the gradient of queries, and one for those of
// keys and values. Each goes through tiles of scores that mask and window do not hide, with matrix units (mma.sync)
// that multiply bfloat16 and add in float32. Sums have one order, so the same inputs give the same bits.
//
// Compiled for a head size D (HEAD_SIZE, a multiple of 32) and a number of keys (GRADIENT_KEYS). N heads, K key-value
// heads, T queries, S keys; T′ and S′ are T and S, rounded up to a multiple of 64.
//   q, dy             [N, D, T′] bfloat16, 0 from T on
//   k, v              [K, D, S′] bfloat16, 0 from S on
//   o, dq; dk, dv     [N, D, T]; [K, D, S]; o is bfloat16 if `narrow`
//   log_sums, deltas  [N, T]: log Σ e^score of each query; Σ dy · o
//   visible           [T′]: two ranges of keys that each query sees, as begin and end; empty from T on
//   starts, tiles     tiles[starts[i]] … tiles[starts[i + 1] − 1] are the tiles that tile i sees or is seen by: twice
//   the
//                     tile's index, plus 1 if every query of one sees every key of the other
//
// A score is s = cap · tanh(factor · qᵀk), or factor · qᵀk where cap is 0.

#define D HEAD_SIZE
// Queries and keys of a tile of each kernel; fused-attention.h has the same numbers.
#define QUERIES 64
#define KEYS 64
#define QUERY_GRADIENT_KEYS 32
#define KEY_GRADIENT_QUERIES 32

// What the hardware offers. test/gpu/emulated.cc implements the same functions.
#ifdef __CUDACC__

typedef long long int64;
typedef unsigned short Bf16;
#define KERNEL(threads) extern "C" __global__ void __launch_bounds__(threads)
#define DEVICE __device__ __forceinline__
#define UNROLL _Pragma("unroll")
#define SHARED_MEMORY(name) extern __shared__ __align__(128) Bf16 name[]

DEVICE unsigned shared_address(const void* shared) { return (unsigned)__cvta_generic_to_shared(shared); }

// Queues a copy of 16 bytes to shared memory.
DEVICE void copy_later(void* shared, const void* global) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(shared)), "l"(global) : "memory");
}
// Waits for the copies that this thread queued.
DEVICE void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// Loads four 8 × 8 matrices. Lanes 8 i to 8 i + 7 give the addresses of matrix i's rows. Lane l gets values 2 (l % 4)
// and 2 (l % 4) + 1 of row l / 4 of matrix i in x[i].
DEVICE void load_matrices(unsigned (&x)[4], const Bf16* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
               : "r"(shared_address(row))
               : "memory");
}
// The same of transposed matrices.
DEVICE void load_transposed(unsigned (&x)[4], const Bf16* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
               : "r"(shared_address(row))
               : "memory");
}

// c [16, 8] += a [16, 16] · b [16, 8]. Lane l has, with g = l / 4 and t = l % 4: of c, row g and columns 2 t, 2 t + 1,
// then row g + 8; of a, row g and columns 2 t, 2 t + 1, then row g + 8, then both for columns 2 t + 8, 2 t + 9; of b,
// column g and rows 2 t, 2 t + 1, then 2 t + 8, 2 t + 9.
DEVICE void multiply_add(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Two values rounded to the nearest bfloat16, and such a value as float.
DEVICE unsigned pack_bf16(float low, float high) {
  unsigned packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}
// x of the lane whose number differs in the bits of `mask`.
DEVICE float exchange(float x, int mask) { return __shfl_xor_sync(0xffffffffu, x, mask); }
DEVICE float low_half(unsigned pair) { return __uint_as_float(pair << 16); }
DEVICE float high_half(unsigned pair) { return __uint_as_float(pair & 0xffff0000u); }
DEVICE float fast_exp(float x) { return __expf(x); }
DEVICE float fast_divide(float x, float y) { return __fdividef(x, y); }
DEVICE float minus_infinity() { return __int_as_float(0xff800000); }

#endif

// Without a cap, or with a larger one, e^score may overflow: it is then relative to the row's maximum.
#define MAX_EXPONENT 60.0f
#define LEAST (-3.4e38f)

// A tile in shared memory is [rows, COLUMNS]. The 16-byte chunks of a row are permuted so that ldmatrix, which
// reads a chunk of eight rows at once, finds each in other banks.
template <int COLUMNS>
DEVICE int chunk_at(int row, int chunk) {
  return row * COLUMNS + ((chunk ^ (row / (64 / COLUMNS))) & (COLUMNS / 8 - 1)) * 8;
}

// Queues copies of D rows, with leading dimension `ld`.
template <int COLUMNS>
DEVICE void load_tile(Bf16* tile, const Bf16* from, int ld) {
  constexpr int chunks = COLUMNS / 8;
  for (int i = threadIdx.x; i < D * chunks; i += blockDim.x)
    copy_later(tile + chunk_at<COLUMNS>(i / chunks, i % chunks), from + (int64)(i / chunks) * ld + i % chunks * 8);
}

// The row that this lane addresses of four 8 × 8 matrices, two by two from (row, column) of a tile on. `down`: the
// second matrix is below the first, otherwise beside it.
template <int COLUMNS>
DEVICE const Bf16* matrix_row(const Bf16* tile, int row, int column, bool down) {
  const int lane = threadIdx.x % 32, second = lane / 8 % 2, third = lane / 16;
  return tile + chunk_at<COLUMNS>(row + lane % 8 + 8 * (down ? second : third), column / 8 + (down ? third : second));
}

// s [16, 8 n] += xᵀ y over the D rows of both, from their columns x_column and y_column on.
template <int X_COLUMNS, int Y_COLUMNS, int N>
DEVICE void multiply_columns(float (&s)[N][4], const Bf16* x, int x_column, const Bf16* y, int y_column) {
  for (int d = 0; d < D; d += 16) {
    unsigned a[4], b[4];
    load_transposed(a, matrix_row<X_COLUMNS>(x, d, x_column, false));
    UNROLL for (int j = 0; j < N; j += 2) {
      load_transposed(b, matrix_row<Y_COLUMNS>(y, d, y_column + 8 * j, true));
      multiply_add(s[j], a, b[0], b[1]);
      multiply_add(s[j + 1], a, b[2], b[3]);
    }
  }
}

// y [16, 8 n] += a · xᵀ, where x has 8 n rows from `row` on and 16 columns from `column` on.
template <int COLUMNS, int N>
DEVICE void multiply_rows(float (&y)[N][4], const unsigned (&a)[4], const Bf16* x, int row, int column) {
  UNROLL for (int j = 0; j < N; j += 2) {
    unsigned b[4];
    load_matrices(b, matrix_row<COLUMNS>(x, row + 8 * j, column, false));
    multiply_add(y[j], a, b[0], b[1]);
    multiply_add(y[j + 1], a, b[2], b[3]);
  }
}

// Columns 16 i to 16 i + 15 of sums [16, 8 n] as the left operand of a product.
template <int N>
DEVICE void as_operand(unsigned (&a)[4], const float (&s)[N][4], int i) {
  a[0] = pack_bf16(s[2 * i][0], s[2 * i][1]);
  a[1] = pack_bf16(s[2 * i][2], s[2 * i][3]);
  a[2] = pack_bf16(s[2 * i + 1][0], s[2 * i + 1][1]);
  a[3] = pack_bf16(s[2 * i + 1][2], s[2 * i + 1][3]);
}

DEVICE bool sees(const int4& ranges, int key) {
  return (key >= ranges.x && key < ranges.y) || (key >= ranges.z && key < ranges.w);
}

// tanh x. Its error is absolute, 1e-7, as a score's must be.
DEVICE float tanh_of(float x) { return 1.0f - fast_divide(2.0f, 1.0f + fast_exp(2.0f * x)); }

DEVICE float row_sum(float x) {  // of the four lanes that have a row
  x += exchange(x, 1);
  return x + exchange(x, 2);
}
DEVICE float row_max(float x) {
  x = fmaxf(x, exchange(x, 1));
  return fmaxf(x, exchange(x, 2));
}

// A score's probability p = e^(s − log_sum), and d loss / d (qᵀk) = p (dp − delta) ds / d (qᵀk) in `ds`.
DEVICE float score_gradient(float product, float dp, bool seen, float log_sum, float delta, float factor, float cap,
                            float* ds) {
  const float x = product * factor, t = cap > 0 ? tanh_of(x) : x;
  const float p = fast_exp((cap > 0 ? cap * t : x) - log_sum);
  *ds = seen ? p * (dp - delta) * factor * (cap > 0 ? cap * (1.0f - t * t) : 1.0f) : 0.0f;
  return seen ? p : 0.0f;
}

// A block has a tile of queries of a head; each of its four warps, 16 queries. The last tiles, which see the most keys,
// run first.
KERNEL(128)
attention_forward(const Bf16* q, const Bf16* k, const Bf16* v, const int4* visible, const int* starts, const int* tiles,
                  void* o, int narrow, float* log_sums, int queries, int q_ld, int k_ld, int heads, int group,
                  float factor, float cap) {
  SHARED_MEMORY(memory);
  Bf16 *q_tile = memory, *k_tile = q_tile + D * QUERIES, *v_tile = k_tile + D * KEYS;
  const int tile = q_ld / QUERIES - 1 - blockIdx.x / heads, head = blockIdx.x % heads;
  const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  const int query = tile * QUERIES + 16 * warp + g;  // this lane has row `query` and row `query` + 8
  const int4 ranges[2] = {visible[query], visible[query + 8]};
  const bool relative = !(cap > 0 && cap <= MAX_EXPONENT);
  k += (int64)(head / group) * D * k_ld;
  v += (int64)(head / group) * D * k_ld;
  load_tile<QUERIES>(q_tile, q + (int64)head * D * q_ld + tile * QUERIES, q_ld);
  int i = starts[tile];
  const int end = starts[tile + 1];
  if (i < end) load_tile<KEYS>(k_tile, k + tiles[i] / 2 * KEYS, k_ld);

  // Outputs are divided by the sum of rounded probabilities: so they are means of the values.
  float sum[D / 8][4] = {}, total[2] = {}, rounded_total[2] = {}, top[2] = {};
  if (relative) top[0] = top[1] = LEAST;
  for (; i < end; i++) {
    const int first = tiles[i] / 2 * KEYS;
    const bool all = tiles[i] % 2;
    wait_for_copies();
    __syncthreads();  // every warp has read the last values
    load_tile<KEYS>(v_tile, v + first, k_ld);
    float s[KEYS / 8][4] = {};
    multiply_columns<QUERIES, KEYS>(s, q_tile, 16 * warp, k_tile, 0);
    UNROLL for (int j = 0; j < KEYS / 8; j++) UNROLL for (int n = 0; n < 4; n++) {
      const float x = s[j][n] * factor;
      const bool seen = all || sees(ranges[n / 2], first + 8 * j + 2 * t + n % 2);
      s[j][n] = !seen ? minus_infinity() : cap > 0 ? cap * tanh_of(x) : x;
    }
    if (relative) {
      float most[2] = {top[0], top[1]};
      UNROLL for (int j = 0; j < KEYS / 8; j++) UNROLL for (int n = 0; n < 4; n++) most[n / 2] =
          fmaxf(most[n / 2], s[j][n]);
      UNROLL for (int r = 0; r < 2; r++) {
        most[r] = row_max(most[r]);
        const float scale = fast_exp(top[r] - most[r]);
        total[r] *= scale;
        rounded_total[r] *= scale;
        UNROLL for (int j = 0; j < D / 8; j++) {
          sum[j][2 * r] *= scale;
          sum[j][2 * r + 1] *= scale;
        }
        top[r] = most[r];
      }
    }
    UNROLL for (int j = 0; j < KEYS / 8; j++) UNROLL for (int n = 0; n < 4; n++) {
      s[j][n] = fast_exp(s[j][n] - top[n / 2]);
      total[n / 2] += s[j][n];
    }
    wait_for_copies();
    __syncthreads();  // every warp has read the keys
    if (i + 1 < end) load_tile<KEYS>(k_tile, k + tiles[i + 1] / 2 * KEYS, k_ld);
    UNROLL for (int j = 0; j < KEYS / 16; j++) {
      unsigned p[4];
      as_operand(p, s, j);
      UNROLL for (int n = 0; n < 4; n++) rounded_total[n % 2] += low_half(p[n]) + high_half(p[n]);
      multiply_rows<KEYS>(sum, p, v_tile, 0, 16 * j);
    }
  }
  UNROLL for (int r = 0; r < 2; r++) {
    total[r] = row_sum(total[r]);
    rounded_total[r] = row_sum(rounded_total[r]);
  }
  UNROLL for (int r = 0; r < 2; r++) {
    const int row = query + 8 * r;
    if (row >= queries) continue;
    const float share = 1.0f / rounded_total[r];
    if (t == 0) log_sums[(int64)head * queries + row] = top[r] + logf(total[r]);
    UNROLL for (int j = 0; j < D / 8; j++) UNROLL for (int n = 0; n < 2; n++) {
      const int64 at = ((int64)head * D + 8 * j + 2 * t + n) * queries + row;
      const float mean = sum[j][2 * r + n] * share;
      if (narrow)
        ((Bf16*)o)[at] = (Bf16)pack_bf16(mean, 0.0f);
      else
        ((float*)o)[at] = mean;
    }
  }
}

// As attention_forward.
KERNEL(128)
attention_query_gradient(const Bf16* dy, const Bf16* q, const Bf16* k, const Bf16* v, const int4* visible,
                         const int* starts, const int* tiles, const float* log_sums, const float* deltas, float* dq,
                         int queries, int q_ld, int k_ld, int heads, int group, float factor, float cap) {
  SHARED_MEMORY(memory);
  Bf16 *q_tile = memory, *dy_tile = q_tile + D * QUERIES, *k_tile = dy_tile + D * QUERIES,
       *v_tile = k_tile + D * QUERY_GRADIENT_KEYS;
  const int tile = q_ld / QUERIES - 1 - blockIdx.x / heads, head = blockIdx.x % heads;
  const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  const int query = tile * QUERIES + 16 * warp + g;
  const int4 ranges[2] = {visible[query], visible[query + 8]};
  float log_sum[2], delta[2];
  UNROLL for (int r = 0; r < 2; r++) {
    const bool exists = query + 8 * r < queries;
    log_sum[r] = exists ? log_sums[(int64)head * queries + query + 8 * r] : 0.0f;
    delta[r] = exists ? deltas[(int64)head * queries + query + 8 * r] : 0.0f;
  }
  k += (int64)(head / group) * D * k_ld;
  v += (int64)(head / group) * D * k_ld;
  load_tile<QUERIES>(q_tile, q + (int64)head * D * q_ld + tile * QUERIES, q_ld);
  load_tile<QUERIES>(dy_tile, dy + (int64)head * D * q_ld + tile * QUERIES, q_ld);
  int i = starts[tile];
  const int end = starts[tile + 1];
  if (i < end) {
    load_tile<QUERY_GRADIENT_KEYS>(k_tile, k + tiles[i] / 2 * QUERY_GRADIENT_KEYS, k_ld);
    load_tile<QUERY_GRADIENT_KEYS>(v_tile, v + tiles[i] / 2 * QUERY_GRADIENT_KEYS, k_ld);
  }

  float sum[D / 8][4] = {};
  for (; i < end; i++) {
    const int first = tiles[i] / 2 * QUERY_GRADIENT_KEYS;
    const bool all = tiles[i] % 2;
    wait_for_copies();
    __syncthreads();  // the tiles have arrived
    float s[QUERY_GRADIENT_KEYS / 8][4] = {}, dp[QUERY_GRADIENT_KEYS / 8][4] = {};
    multiply_columns<QUERIES, QUERY_GRADIENT_KEYS>(dp, dy_tile, 16 * warp, v_tile, 0);
    __syncthreads();  // every warp has read the values
    const int next = i + 1 < end ? tiles[i + 1] / 2 * QUERY_GRADIENT_KEYS : -1;
    if (next >= 0) load_tile<QUERY_GRADIENT_KEYS>(v_tile, v + next, k_ld);
    multiply_columns<QUERIES, QUERY_GRADIENT_KEYS>(s, q_tile, 16 * warp, k_tile, 0);
    UNROLL for (int j = 0; j < QUERY_GRADIENT_KEYS / 8; j++) UNROLL for (int n = 0; n < 4; n++) {
      const bool seen = all || sees(ranges[n / 2], first + 8 * j + 2 * t + n % 2);
      score_gradient(s[j][n], dp[j][n], seen, log_sum[n / 2], delta[n / 2], factor, cap, &dp[j][n]);
    }
    UNROLL for (int j = 0; j < QUERY_GRADIENT_KEYS / 16; j++) {
      unsigned ds[4];
      as_operand(ds, dp, j);
      multiply_rows<QUERY_GRADIENT_KEYS>(sum, ds, k_tile, 0, 16 * j);
    }
    __syncthreads();  // every warp has read the keys
    if (next >= 0) load_tile<QUERY_GRADIENT_KEYS>(k_tile, k + next, k_ld);
  }
  UNROLL for (int r = 0; r < 2; r++) {
    const int row = query + 8 * r;
    if (row >= queries) continue;
    UNROLL for (int j = 0; j < D / 8; j++) UNROLL for (int n = 0; n < 2; n++)
        dq[((int64)head * D + 8 * j + 2 * t + n) * queries + row] = sum[j][2 * r + n];
  }
}

// A block has a tile of keys of a key-value head, and goes through the queries that see them, of each head of the
// group. Of a tile of scores a warp computes 16 keys by half of the queries. Probabilities and gradients then go to
// shared memory, because of the gradients a warp computes 16 keys by half of the features.
KERNEL(4 * GRADIENT_KEYS)
attention_key_gradient(const Bf16* dy, const Bf16* q, const Bf16* k, const Bf16* v, const int4* visible,
                       const int* starts, const int* tiles, const float* log_sums, const float* deltas, float* dk,
                       float* dv, int queries, int keys, int q_ld, int k_ld, int groups, int group, float factor,
                       float cap) {
  SHARED_MEMORY(memory);
  constexpr int TILE_QUERIES = KEY_GRADIENT_QUERIES;
  Bf16 *k_tile = memory, *v_tile = k_tile + D * GRADIENT_KEYS, *q_tile = v_tile + D * GRADIENT_KEYS,
       *dy_tile = q_tile + D * TILE_QUERIES, *p_tile = dy_tile + D * TILE_QUERIES,
       *ds_tile = p_tile + GRADIENT_KEYS * TILE_QUERIES;
  const int tile = blockIdx.x / groups, key_head = blockIdx.x % groups;
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  const int row = threadIdx.x / 64 * 16, half = threadIdx.x / 32 % 2;  // the warp's keys, and its half
  const int key = tile * GRADIENT_KEYS + row + g;                      // this lane has row `key` and row `key` + 8
  const int64 head_keys = (int64)key_head * D * k_ld + tile * GRADIENT_KEYS;
  load_tile<GRADIENT_KEYS>(k_tile, k + head_keys, k_ld);
  load_tile<GRADIENT_KEYS>(v_tile, v + head_keys, k_ld);

  float dk_sum[D / 16][4] = {}, dv_sum[D / 16][4] = {};
  for (int head = key_head * group; head < (key_head + 1) * group; head++) {
    const int64 head_queries = (int64)head * D * q_ld, of_head = (int64)head * queries;
    for (int i = starts[tile]; i < starts[tile + 1]; i++) {
      const int first = tiles[i] / 2 * TILE_QUERIES;
      const bool all = tiles[i] % 2;
      __syncthreads();  // every warp has read the last tiles
      load_tile<TILE_QUERIES>(q_tile, q + head_queries + first, q_ld);
      load_tile<TILE_QUERIES>(dy_tile, dy + head_queries + first, q_ld);
      wait_for_copies();
      __syncthreads();  // the tiles have arrived
      float s[2][4] = {}, dp[2][4] = {};
      multiply_columns<GRADIENT_KEYS, TILE_QUERIES>(s, k_tile, row, q_tile, 16 * half);
      multiply_columns<GRADIENT_KEYS, TILE_QUERIES>(dp, v_tile, row, dy_tile, 16 * half);
      UNROLL for (int j = 0; j < 2; j++) UNROLL for (int n = 0; n < 2; n++) {
        const int column = 16 * half + 8 * j + 2 * t, query = first + column + n;
        const bool exists = query < queries;
        const float log_sum = exists ? log_sums[of_head + query] : 0.0f;
        const float delta = exists ? deltas[of_head + query] : 0.0f;
        const int4 ranges = all ? int4() : visible[query];
        UNROLL for (int r = 0; r < 2; r++) {
          const bool seen = all || sees(ranges, key + 8 * r);
          float *score = &s[j][2 * r + n], *gradient = &dp[j][2 * r + n];
          *score = score_gradient(*score, *gradient, seen, log_sum, delta, factor, cap, gradient);
        }
      }
      UNROLL for (int j = 0; j < 2; j++) UNROLL for (int r = 0; r < 2; r++) {
        const int at = chunk_at<TILE_QUERIES>(row + g + 8 * r, 2 * half + j) + 2 * t;
        *(unsigned*)(p_tile + at) = pack_bf16(s[j][2 * r], s[j][2 * r + 1]);
        *(unsigned*)(ds_tile + at) = pack_bf16(dp[j][2 * r], dp[j][2 * r + 1]);
      }
      __syncthreads();
      UNROLL for (int j = 0; j < TILE_QUERIES; j += 16) {
        unsigned a[4];
        load_matrices(a, matrix_row<TILE_QUERIES>(p_tile, row, j, true));
        multiply_rows<TILE_QUERIES>(dv_sum, a, dy_tile, half * (D / 2), j);
        load_matrices(a, matrix_row<TILE_QUERIES>(ds_tile, row, j, true));
        multiply_rows<TILE_QUERIES>(dk_sum, a, q_tile, half * (D / 2), j);
      }
    }
  }
  wait_for_copies();  // of keys that no query sees
  UNROLL for (int r = 0; r < 2; r++) {
    if (key + 8 * r >= keys) continue;
    UNROLL for (int j = 0; j < D / 16; j++) UNROLL for (int n = 0; n < 2; n++) {
      const int64 at = ((int64)key_head * D + half * (D / 2) + 8 * j + 2 * t + n) * keys + key + 8 * r;
      dk[at] = dk_sum[j][2 * r + n];
      dv[at] = dv_sum[j][2 * r + n];
    }
  }
}
