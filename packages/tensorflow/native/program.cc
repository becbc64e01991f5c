// Programs (program.h) on the processor.
#include "program.h"
#include "scratch.h"

namespace wpo {
namespace {

struct Processor : Machine {
  int32_t count() const override { return static_cast<int32_t>(operations().size()); }
  const Signature& signature(int32_t operation) const override { return operations()[operation]; }
  void compute(int32_t operation, Host& host, std::vector<View> inputs) override {
    Run run(host, std::move(inputs));
    operations()[operation].compute(run);
  }
  std::shared_ptr<void> memory(int64_t floats) override { return scratch_of(floats); }
};

// a program, its tensors -> what its last operation makes
void program(Run& run) {
  Processor processor;
  Program(run, processor).run();
}

}  // namespace

void define_program() {
  define<program>("WpoProgram", {"code: int32", "tensors: N * float"}, {"y: float"}, "N: int >= 1");
}

}  // namespace wpo
