#include "elementwise/updated-value.h"

namespace wpo {
namespace {

WPO_TARGET_CLONES void join_all(int64_t n, const Bf16* high, const int16_t* low, float* values) {
  for (int64_t j = 0; j < n; j++) values[j] = join(high[j], low[j]);
}
WPO_TARGET_CLONES void widen_all(int64_t n, const Bf16* from, float* values) {
  for (int64_t j = 0; j < n; j++) values[j] = load_float(from + j);
}
WPO_TARGET_CLONES void split_all(int64_t n, const float* values, Bf16* high, int16_t* low) {
  for (int64_t j = 0; j < n; j++) split(values[j], high[j], low[j]);
}
WPO_TARGET_CLONES void round_all(int64_t begin, int64_t n, const float* values, uint32_t key, Bf16* to) {
  const uint32_t increment = key_increment(key);
  for (int64_t j = 0; j < n; j++)
    to[j] = round_randomly(values[j], mix_bits(key + static_cast<uint32_t>(begin + j) * increment));
}

}  // namespace

void load_values(const UpdatedValue& from, int64_t begin, int64_t n, float* values) {
  if (from.low)
    join_all(n, from.high + begin, from.low + begin, values);
  else
    widen_all(n, from.high + begin, values);
}

void store_values(const UpdatedValue& to, int64_t begin, int64_t n, const float* values) {
  if (to.low)
    split_all(n, values, to.high + begin, to.low + begin);
  else
    round_all(begin, n, values, to.key, to.high + begin);
}

}  // namespace wpo
