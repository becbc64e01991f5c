// Recorded programs (program.h) on the CPU.
#include "runtime/program.h"

namespace wpo {
namespace {

struct CpuInterpreter : Interpreter {
  using Interpreter::Interpreter;
  int32_t num_kernels() const override { return static_cast<int32_t>(kernels<OpContext>().size()); }
  const Signature& signature(int32_t kernel) const override { return *kernels<OpContext>()[kernel].signature; }
  void compute(int32_t kernel, std::vector<TensorView> inputs, Precision precision) override {
    OpContext ctx(*this, std::move(inputs), precision);
    kernels<OpContext>()[kernel].compute(ctx);
    ctx.finish();
  }
};

// code, tensors -> what the program returns
void program(OpContext& ctx) {
  // TensorFlow calls this: the interpreter refuses a program within a program
  CpuInterpreter(ctx, static_cast<TensorFlowContext&>(ctx.allocator())).run();
}

}  // namespace

void register_program() { register_kernel<program>("WpoProgram"); }

}  // namespace wpo
