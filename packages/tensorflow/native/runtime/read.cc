// Reads a tensor from an open file into TensorFlow's memory. It does not request large pages: in a virtual machine they
// take three times as long as small ones until the host has provided them.
#include "runtime/file-values.h"
#include "runtime/operation.h"

namespace wpo {
namespace {

// [file, offset in 2³⁰, rest of it, bytes of a value: 2 for bfloat16 or 4, dimensions …] -> values
void read(OpContext& ctx) {
  const int32_t* params = ctx.input<int32_t>(0);
  const int64_t num_params = ctx.size(0);
  require(num_params >= 4, "expected a file, an offset in two parts, bytes of a value and a shape, found ", num_params,
          " numbers");
  const int bytes = params[3];
  require(bytes == 2 || bytes == 4, "expected 2 or 4 bytes a value, found ", bytes);
  require(params[1] >= 0 && params[2] >= 0, "expected an offset of 0 or more, found ", params[1], " and ", params[2]);
  const int64_t offset = (static_cast<int64_t>(params[1]) << 30) + params[2];
  const Shape shape(params + 4, params + num_params);
  const int64_t count = checked_element_count(shape);
  const Type type = bytes == 2 ? Type::kBfloat16 : Type::kFloat32;
  read_values({params[0], offset, count, type}, Type::kFloat32, ctx.output(0, shape));
}

}  // namespace

void register_read() { register_kernel<read>("WpoRead"); }

}  // namespace wpo
