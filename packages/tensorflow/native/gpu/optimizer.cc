// The gradient norm and the updates of optimizers. Inputs and outputs as in elementwise/optimizer.cc, adamw-8bit.cc
// and adafactor.cc.
#include <vector>

#include "elementwise/adamw.h"
#include "elementwise/updates.h"
#include "gpu/operation.h"

namespace wpo {
namespace {

// Divides several tensors among the blocks of one launch, `each` values of one tensor per block. Tensor i has sizes[i]
// values and the blocks from first[i] up to first[i + 1].
struct TensorBlocks {
  int64_t each;
  std::vector<int32_t> first = {0};
  std::vector<int64_t> sizes = {};
  void add(int64_t size) {
    first.push_back(first.back() + static_cast<int32_t>((size + each - 1) / each));
    sizes.push_back(size);
  }
};

void square_sums(GpuContext& ctx) {
  float* y = ctx.output(0, {ctx.num_inputs()});
  TensorBlocks blocks = {64 * platform.threads};
  std::vector<float*> tensors;
  std::vector<int32_t> narrow;
  for (int i = 0; i < ctx.num_inputs(); i++) {
    blocks.add(ctx.size(i));
    tensors.push_back(const_cast<float*>(ctx.input<float>(i)));
    narrow.push_back(ctx.view(i).type == Type::kBfloat16);
  }
  const int32_t* first = ctx.upload(blocks.first);
  double* sums = ctx.scratch<double>(blocks.first.back());
  ctx.launch_rows("square_sums", blocks.first.back(), ctx.upload(tensors), ctx.upload(narrow), first,
                  ctx.upload(blocks.sizes), sums, ctx.num_inputs(), blocks.each);
  ctx.launch_rows("sum_doubles", ctx.num_inputs(), static_cast<const double*>(sums), first, y);
}

void adamw(GpuContext& ctx) {
  const AdamWParams params = read_adamw(ctx);
  const Updates updates = adamw_updates(ctx);
  TensorBlocks blocks = {4 * platform.threads};
  std::vector<float*> tensors;
  std::vector<uint32_t> keys;
  for (int i = 0; i < updates.size(); i++) {
    const UpdatedValue p = updates.value(i);
    tensors.insert(tensors.end(), {p.values, reinterpret_cast<float*>(p.high), reinterpret_cast<float*>(p.low),
                                   updates.state(i, 0), updates.state(i, 1), const_cast<float*>(updates.gradient(i))});
    keys.push_back(p.key);
    blocks.add(updates.count(i));
  }
  ctx.launch_rows("adamw", blocks.first.back(), ctx.upload(tensors), ctx.upload(keys), ctx.upload(blocks.first),
                  ctx.upload(blocks.sizes), static_cast<int>(blocks.sizes.size()), params.scale, params.one_minus_beta1,
                  params.beta2, params.one_minus_beta2, params.epsilon, params.step_size, params.bias_correction2_sqrt,
                  params.decay_factor, blocks.each);
  ctx.output_done();
}

void lion(GpuContext& ctx) {
  const LionParams a = read_lion(ctx);
  const Updates updates = lion_updates(ctx);
  for (int i = 0; i < updates.size(); i++)
    ctx.launch_values("lion", updates.count(i), updates.value(i), updates.state(i, 0), updates.gradient(i), a.scale,
                      a.beta1, a.one_minus_beta1, a.beta2, a.one_minus_beta2, a.learning_rate, a.decay_factor);
  ctx.output_done();
}

void sgd(GpuContext& ctx) {
  const SgdParams a = read_sgd(ctx);
  const Updates updates = sgd_updates(ctx);
  for (int i = 0; i < updates.size(); i++)
    ctx.launch_values("sgd", updates.count(i), updates.value(i), updates.gradient(i), a.scale, a.learning_rate,
                      a.weight_decay);
  ctx.output_done();
}

template <bool kSecondEncoded>
void adamw_8bit(GpuContext& ctx) {
  const AdamW8bitParams params = read_adamw_8bit(ctx);
  const Updates updates = adamw_8bit_updates(ctx, kSecondEncoded);
  const AdamWParams& a = params.adamw;
  const float* signed_map = ctx.upload(params.signed_map, kCodes);
  const float* unsigned_map = ctx.upload(params.unsigned_map, kCodes);
  const uint8_t* signed_table = ctx.upload(code_table(params.signed_map));
  const uint8_t* unsigned_table = ctx.upload(code_table(params.unsigned_map));
  for (int i = 0; i < updates.size(); i++) {
    uint8_t* const second_codes = kSecondEncoded ? updates.state<uint8_t>(i, 2) : nullptr;
    float* const second_absmax = kSecondEncoded ? updates.state(i, 3) : nullptr;
    float* const second = kSecondEncoded ? nullptr : updates.state(i, 2);
    const int64_t size = updates.count(i);
    ctx.launch_rows("adamw_8bit", blocks_of(size), updates.value(i), updates.state<uint8_t>(i, 0), updates.state(i, 1),
                    second_codes, second_absmax, second, updates.gradient(i), signed_map, unsigned_map, signed_table,
                    unsigned_table, a.scale, a.one_minus_beta1, a.beta2, a.one_minus_beta2, a.epsilon, a.step_size,
                    a.bias_correction2_sqrt, a.decay_factor, size);
  }
  ctx.output_done();
}

void adafactor(GpuContext& ctx) {
  const AdafactorParams a = read_adafactor(ctx);
  const Updates updates = adafactor_updates(ctx);
  constexpr int64_t kRows = 128;  // of a piece of the sums over columns
  for (int i = 0; i < updates.size(); i++) {
    const int64_t size = updates.count(i);
    if (size == 0) continue;
    const Shape& shape = updates.shape(i);
    const int64_t width = shape.back(), rows = shape[shape.size() - 2], all_rows = size / width;
    const int64_t pieces = (rows + kRows - 1) / kRows;
    const UpdatedValue p = updates.value(i);
    float *row_averages = updates.state(i, 0), *columns = updates.state(i, 1);
    const float* g = updates.gradient(i);
    float *r = ctx.scratch(all_rows), *c = ctx.scratch(all_rows / rows * width), *rate = ctx.scratch(1);
    double *sums = ctx.scratch<double>(pieces * width), *squares = ctx.scratch<double>(all_rows);
    ctx.launch_rows("adafactor_rows", all_rows, g, row_averages, width, a.scale, a.beta2, a.one_minus_beta2);
    for (int64_t k = 0; k < all_rows / rows; k++) {
      const float *g_k = g + k * rows * width, *averages = row_averages + k * rows;
      float *r_k = r + k * rows, *c_k = c + k * width;
      ctx.launch_rows("adafactor_column_sums", pieces, g_k, sums, rows, width, kRows, a.scale);
      ctx.launch_values("adafactor_columns", width, static_cast<const double*>(sums), columns + k * width, c_k, pieces,
                        rows, a.beta2, a.one_minus_beta2);
      ctx.launch_rows("adafactor_row_factors", 1, averages, r_k, rows);
      ctx.launch_rows("adafactor_squares", rows, g_k, static_cast<const float*>(r_k), static_cast<const float*>(c_k),
                      squares + k * rows, width, a.scale);
    }
    ctx.launch_rows("adafactor_rate", 1, static_cast<const double*>(squares), rate, all_rows, size, a.learning_rate);
    for (int64_t k = 0; k < all_rows / rows; k++)
      ctx.launch_values("adafactor_change", rows * width, p, k * rows * width, g + k * rows * width,
                        static_cast<const float*>(r + k * rows), static_cast<const float*>(c + k * width),
                        static_cast<const float*>(rate), width, a.scale, a.decay_factor);
  }
  ctx.output_done();
}

void adafactor_vector(GpuContext& ctx) {
  const AdafactorParams a = read_adafactor(ctx);
  const Updates updates = adafactor_vector_updates(ctx);
  for (int i = 0; i < updates.size(); i++) {
    const int64_t n = updates.count(i);
    if (n == 0) continue;
    const UpdatedValue p = updates.value(i);
    float *averages = updates.state(i, 0), *rate = ctx.scratch(1);
    const float* g = updates.gradient(i);
    ctx.launch_rows("adafactor_vector", 1, g, averages, rate, n, a.scale, a.beta2, a.one_minus_beta2, a.learning_rate);
    ctx.launch_values("adafactor_change_vector", n, p, g, static_cast<const float*>(averages),
                      static_cast<const float*>(rate), a.scale, a.decay_factor);
  }
  ctx.output_done();
}

}  // namespace

void register_gpu_optimizer() {
  register_gpu_kernel<square_sums>("WpoSquareSums");
  register_gpu_kernel<adamw>("WpoAdamW");
  register_gpu_kernel<adamw_8bit<true>>("WpoAdamW8bit");
  register_gpu_kernel<adamw_8bit<false>>("WpoAdamWMean8bit");
  register_gpu_kernel<lion>("WpoLion");
  register_gpu_kernel<sgd>("WpoSgd");
  register_gpu_kernel<adafactor>("WpoAdafactor");
  register_gpu_kernel<adafactor_vector>("WpoAdafactorVector");
}

}  // namespace wpo
