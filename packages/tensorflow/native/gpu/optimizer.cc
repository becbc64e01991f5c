// The gradient norm and the updates of optimizers. Inputs and outputs as in elementwise/optimizer.cc, adamw-8bit.cc
// and adafactor.cc.
#include <vector>

#include "elementwise/adamw.h"
#include "elementwise/checks.h"
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
  for (int i = 0; i < ctx.num_inputs(); i++) blocks.add(ctx.size(i)), tensors.push_back(ctx.changed_input(i));
  const int32_t* first = ctx.upload(blocks.first);
  double* sums = ctx.scratch<double>(blocks.first.back());
  ctx.launch_rows("square_sums", blocks.first.back(), ctx.upload(tensors), first, ctx.upload(blocks.sizes), sums,
                  ctx.num_inputs(), blocks.each);
  ctx.launch_rows("sum_doubles", ctx.num_inputs(), static_cast<const double*>(sums), first, y);
}

void adamw(GpuContext& ctx) {
  const AdamWParams params = read_adamw(ctx);
  TensorBlocks blocks = {4 * platform.threads};
  std::vector<float*> tensors;
  for (int i = 1; i < ctx.num_inputs(); i++) tensors.push_back(ctx.changed_input(i));
  for (int i = 1; i < ctx.num_inputs(); i += 4) blocks.add(ctx.size(i));
  ctx.launch_rows("adamw", blocks.first.back(), ctx.upload(tensors), ctx.upload(blocks.first), ctx.upload(blocks.sizes),
                  static_cast<int>(blocks.sizes.size()), params.scale, params.one_minus_beta1, params.beta2,
                  params.one_minus_beta2, params.epsilon, params.step_size, params.bias_correction2_sqrt,
                  params.decay_factor, blocks.each);
  ctx.output_done();
}

void lion(GpuContext& ctx) {
  const LionParams a = read_lion(ctx);
  for (int i = 1; i < ctx.num_inputs(); i += 3)
    ctx.launch_values("lion", ctx.size(i), ctx.changed_input(i), ctx.changed_input(i + 1), ctx.input(i + 2), a.scale,
                      a.beta1, a.one_minus_beta1, a.beta2, a.one_minus_beta2, a.learning_rate, a.decay_factor);
  ctx.output_done();
}

void sgd(GpuContext& ctx) {
  const SgdParams a = read_sgd(ctx);
  for (int i = 1; i < ctx.num_inputs(); i += 2)
    ctx.launch_values("sgd", ctx.size(i), ctx.changed_input(i), ctx.input(i + 1), a.scale, a.learning_rate,
                      a.weight_decay);
  ctx.output_done();
}

template <bool kSecondEncoded>
void adamw_8bit(GpuContext& ctx) {
  const AdamW8bitParams params = read_adamw_8bit(ctx, kSecondEncoded);
  const AdamWParams& a = params.adamw;
  const float* signed_map = ctx.upload(params.signed_map, kCodes);
  const float* unsigned_map = ctx.upload(params.unsigned_map, kCodes);
  const uint8_t* signed_table = ctx.upload(code_table(params.signed_map));
  const uint8_t* unsigned_table = ctx.upload(code_table(params.unsigned_map));
  const int each = tensors_of_adamw_8bit(kSecondEncoded);
  float* const none = nullptr;
  for (int i = 1; i < ctx.num_inputs(); i += each) {
    const auto second = [&](int k, bool encoded) {
      return encoded == kSecondEncoded ? ctx.changed_input(i + k) : none;
    };
    ctx.launch_rows("adamw_8bit", blocks_of(ctx.size(i)), ctx.changed_input(i), ctx.changed_input(i + 1),
                    ctx.changed_input(i + 2), second(3, true), second(4, true), second(3, false),
                    ctx.input(i + each - 1), signed_map, unsigned_map, signed_table, unsigned_table, a.scale,
                    a.one_minus_beta1, a.beta2, a.one_minus_beta2, a.epsilon, a.step_size, a.bias_correction2_sqrt,
                    a.decay_factor, ctx.size(i));
  }
  ctx.output_done();
}

void adafactor(GpuContext& ctx) {
  const AdafactorParams a = read_adafactor(ctx);
  constexpr int64_t kRows = 128;  // of a piece of the sums over columns
  for (int i = 1; i < ctx.num_inputs(); i += 4) {
    if (ctx.size(i) == 0) continue;
    const Shape& shape = ctx.shape(i);
    const int64_t width = shape.back(), rows = shape[shape.size() - 2], all_rows = ctx.size(i) / width;
    const int64_t pieces = (rows + kRows - 1) / kRows;
    float *p = ctx.changed_input(i), *row_averages = ctx.changed_input(i + 1), *columns = ctx.changed_input(i + 2);
    const float* g = ctx.input(i + 3);
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
    ctx.launch_rows("adafactor_rate", 1, static_cast<const double*>(squares), rate, all_rows, ctx.size(i),
                    a.learning_rate);
    for (int64_t k = 0; k < all_rows / rows; k++)
      ctx.launch_values("adafactor_change", rows * width, p + k * rows * width, g + k * rows * width,
                        static_cast<const float*>(r + k * rows), static_cast<const float*>(c + k * width),
                        static_cast<const float*>(rate), width, a.scale, a.decay_factor);
  }
  ctx.output_done();
}

void adafactor_vector(GpuContext& ctx) {
  const AdafactorParams a = read_adafactor_vector(ctx);
  for (int i = 1; i < ctx.num_inputs(); i += 3) {
    const int64_t n = ctx.size(i);
    if (n == 0) continue;
    float *p = ctx.changed_input(i), *averages = ctx.changed_input(i + 1), *rate = ctx.scratch(1);
    const float* g = ctx.input(i + 2);
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
