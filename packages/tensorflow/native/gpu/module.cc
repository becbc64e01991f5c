// The GPU addon's entry point: registers the operations' GPU kernels with the TensorFlow of this process. The CPU
// addon, loaded before, has defined the operations. Exports `operations` (runtime/module.h): those that have a GPU
// kernel; and `missing`: the library that cannot be loaded, with the reason, or an empty string; and `fusedHeadSizes`:
// for which WpoFusedAttention runs on this machine's GPU; and `store` (runtime/store-functions.h).
#include "runtime/module.h"

#include "gpu/operation.h"
#include "runtime/store-functions.h"

namespace wpo {
void register_gpu_elementwise();
void register_gpu_gemm();
void register_gpu_head();
void register_gpu_rows();
void register_gpu_optimizer();
void register_gpu_attention();
void register_gpu_fused_attention();
void register_gpu_copies();
void register_gpu_program();

namespace {

void export_fused_head_sizes(napi_env env, napi_value exports) {
  napi_value sizes, size;
  require_ok(napi_create_array(env, &sizes));
  uint32_t count = 0;
  for (const int64_t head_size : platform.fused_head_sizes) {
    if (!fused_tiles(head_size)) continue;
    require_ok(napi_create_int64(env, head_size, &size));
    require_ok(napi_set_element(env, sizes, count++, size));
  }
  require_ok(napi_set_named_property(env, exports, "fusedHeadSizes", sizes));
}

void register_all() {
  register_gpu_elementwise();
  register_gpu_gemm();
  register_gpu_head();
  register_gpu_rows();
  register_gpu_optimizer();
  register_gpu_attention();
  register_gpu_fused_attention();
  register_gpu_copies();
  register_gpu_program();
}

}  // namespace
}  // namespace wpo

extern "C" __attribute__((visibility("default"))) napi_value napi_register_module_v1(napi_env env, napi_value exports) {
  return wpo::run_entry_point(env, [=] {
    static const bool registered = (wpo::register_all(), true);  // once a process: Node calls this again in each worker
    (void)registered;
    wpo::export_operations<wpo::GpuContext>(env, exports);
    wpo::export_store(env, exports, wpo::platform.memory());
    wpo::export_string(env, exports, "missing", wpo::platform.missing());
    wpo::export_fused_head_sizes(env, exports);
    return exports;
  });
}
