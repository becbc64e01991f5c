// Loaded by Node: registers the operations' GPU kernels with the TensorFlow that is in the process, and exports `operations`,
// the names of those that have one, and `lack`, what they want and do not find. The operations themselves are defined by the
// processor's addon, loaded before.
#include <node_api.h>
#include "run.h"

namespace wpo {
void define_gpu_blocks();
void define_gpu_products();
void define_gpu_head();
void define_gpu_update();
void define_gpu_attention();
void define_gpu_program();
}  // namespace wpo

extern "C" __attribute__((visibility("default"))) napi_value napi_register_module_v1(napi_env env, napi_value exports) {
  wpo::define_gpu_blocks();
  wpo::define_gpu_products();
  wpo::define_gpu_head();
  wpo::define_gpu_update();
  wpo::define_gpu_attention();
  wpo::define_gpu_program();
  napi_value names, name;
  napi_create_array(env, &names);
  uint32_t count = 0;
  for (const wpo::GpuOperation& operation : wpo::gpu_operations()) {
    napi_create_string_utf8(env, operation.name, NAPI_AUTO_LENGTH, &name);
    napi_set_element(env, names, count++, name);
  }
  napi_set_named_property(env, exports, "operations", names);
  napi_value lack;
  napi_create_string_utf8(env, wpo::platform.lack().c_str(), NAPI_AUTO_LENGTH, &lack);
  napi_set_named_property(env, exports, "lack", lack);
  return exports;
}
