// Recorded programs (runtime/program.h) on a GPU.
#include "runtime/program.h"

#include "gpu/operation.h"

namespace wpo {
namespace {

class GpuInterpreter : public Interpreter {
 public:
  explicit GpuInterpreter(GpuContext& ctx) : Interpreter(ctx, ctx.tensorflow()), device_(ctx.device()) {}
  int32_t num_kernels() const override { return static_cast<int32_t>(kernels<GpuContext>().size()); }
  const Signature& signature(int32_t kernel) const override { return *kernels<GpuContext>()[kernel].signature; }
  void compute(int32_t kernel, std::vector<TensorView> inputs, Precision precision) override {
    GpuContext ctx(*this, std::move(inputs), tensorflow(), device_, precision);
    kernels<GpuContext>()[kernel].compute(ctx);
    ctx.finish();
  }

 private:
  Device& device_;
};

void program(GpuContext& ctx) { GpuInterpreter(ctx).run(); }

}  // namespace

void register_gpu_program() { register_gpu_kernel<program>("WpoProgram"); }

}  // namespace wpo
