// The gradient norm and AdamW's update. Inputs and outputs as in elementwise/optimizer.cc.
#include <vector>

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

}  // namespace

void register_gpu_optimizer() {
  register_gpu_kernel<square_sums>("WpoSquareSums");
  register_gpu_kernel<adamw>("WpoAdamW");
}

}  // namespace wpo
