// Loaded by Node: registers the operations with the TensorFlow that is in the process, and exports `operations`, their names in
// the order of their numbers in a program.
#include <node_api.h>
#include "op.h"

namespace wpo {
void define_norm();
void define_rope();
void define_geglu();
void define_head();
void define_update();
void define_cache();
void define_linear();
void define_read();
void define_product();
void define_attention();
void define_attention_gradient();
void define_program();
}  // namespace wpo

extern "C" __attribute__((visibility("default"))) napi_value napi_register_module_v1(napi_env env, napi_value exports) {
  wpo::define_norm();
  wpo::define_rope();
  wpo::define_geglu();
  wpo::define_head();
  wpo::define_update();
  wpo::define_cache();
  wpo::define_linear();
  wpo::define_read();
  wpo::define_product();
  wpo::define_attention();
  wpo::define_attention_gradient();
  wpo::define_program();
  napi_value names, name;
  napi_create_array(env, &names);
  uint32_t count = 0;
  for (const wpo::Operation& operation : wpo::operations()) {
    napi_create_string_utf8(env, operation.name, NAPI_AUTO_LENGTH, &name);
    napi_set_element(env, names, count++, name);
  }
  napi_set_named_property(env, exports, "operations", names);
  return exports;
}
