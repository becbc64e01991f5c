// The CPU addon's entry point: defines the operations in the TensorFlow of this process and registers their CPU
// kernels. Exports `operations` (runtime/module.h) and `store` (runtime/store-functions.h).
#include "runtime/module.h"
#include "runtime/store-functions.h"

namespace wpo {
void register_gemm();
void register_few_rows();
void register_attention_forward();
void register_attention_backward();
void register_decode_attention();
void register_norm();
void register_rope();
void register_geglu();
void register_dropout();
void register_head();
void register_rows();
void register_optimizer();
void register_adamw_8bit();
void register_adafactor();
void register_program();

namespace {

void register_all() {
  for (const Signature& signature : signatures()) define_operation(signature);
  register_gemm();
  register_few_rows();
  register_attention_forward();
  register_attention_backward();
  register_decode_attention();
  register_norm();
  register_rope();
  register_geglu();
  register_dropout();
  register_head();
  register_rows();
  register_optimizer();
  register_adamw_8bit();
  register_adafactor();
  register_program();
}

}  // namespace
}  // namespace wpo

extern "C" __attribute__((visibility("default"))) napi_value napi_register_module_v1(napi_env env, napi_value exports) {
  return wpo::run_entry_point(env, [=] {
    static const bool registered = (wpo::register_all(), true);  // once a process: Node calls this again in each worker
    (void)registered;
    wpo::export_operations<wpo::OpContext>(env, exports);
    wpo::export_store(env, exports, wpo::host_memory());
    return exports;
  });
}
