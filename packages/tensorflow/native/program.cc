// Programs (program.h) on the processor.
#include "program.h"

namespace wpo {
namespace {

struct Processor : Machine {
  using Machine::Machine;
  int32_t count() const override { return static_cast<int32_t>(operations().size()); }
  const Signature& signature(int32_t operation) const override { return operations()[operation]; }
  void compute(int32_t operation, Host& host, std::vector<View> inputs) override {
    Run run(host, std::move(inputs));
    operations()[operation].compute(run);
  }
};

// a program, its tensors -> what it gives
void program(Run& run) {
  Processor processor(static_cast<Kernel&>(run.host()));  // no program runs this
  Program(run, processor).run();
}

}  // namespace

void define_program() {
  define<program>("WpoProgram", {"code: int32", "tensors: N * float"}, {"y: M * float"}, {"N: int >= 0", "M: int >= 0"});
}

}  // namespace wpo
