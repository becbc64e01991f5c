// Programs (program.h) on a GPU.
#include "../program.h"
#include "run.h"

namespace wpo {
namespace {

class Gpu : public Machine {
 public:
  Gpu(Kernel& kernel, Device& device) : Machine(kernel), device_(device) {}
  int32_t count() const override { return static_cast<int32_t>(gpu_operations().size()); }
  const Signature& signature(int32_t operation) const override { return gpu_operations()[operation]; }
  void compute(int32_t operation, Host& host, std::vector<View> inputs) override {
    GpuRun run(host, std::move(inputs), kernel(), device_);
    gpu_operations()[operation].compute(run);
  }

 private:
  Device& device_;
};

void program(GpuRun& run) {
  Gpu gpu(run.kernel(), run.device());
  Program(run, gpu).run();
}

}  // namespace

void define_gpu_program() { define_on_gpu<program>("WpoProgram", {"code: int32", "tensors: N * float"}, {"y: M * float"}); }

}  // namespace wpo
