// AdamW with moments of 8 bits, as packages/trainer/src/adamw-8bit.ts describes them: blocks of 256 codes, and the
// largest absolute value of each block. A block is decoded, updated and encoded by one thread, so no moment is ever
// whole in float32.
#include <algorithm>
#include <cmath>

#include "elementwise/adamw.h"
#include "elementwise/updated-value.h"
#include "runtime/operation.h"

namespace wpo {
namespace {

// A moment of a parameter, and its map.
struct EncodedMoment {
  uint8_t* codes;
  float* absmax;
  const float* map;
  const uint8_t* table;
};

WPO_INLINE void decode(const EncodedMoment& moment, int64_t block, int64_t n, float* values) {
  const uint8_t* codes = moment.codes + block * kBlock;
  for (int64_t j = 0; j < n; j++) values[j] = moment.map[codes[j]] * moment.absmax[block];
}

WPO_INLINE void encode(const EncodedMoment& moment, int64_t block, int64_t n, const float* values) {
  uint8_t* codes = moment.codes + block * kBlock;
  float largest = 0;
  for (int64_t j = 0; j < n; j++) largest = std::max(largest, std::fabs(values[j]));
  moment.absmax[block] = largest;
  const float scale = largest > 0 ? 1.0f / largest : 0.0f;
  for (int64_t j = 0; j < n; j++) {
    const float x = values[j] * scale, at_most = x < 1.0f ? x : 1.0f, in_range = at_most > -1.0f ? at_most : -1.0f;
    const int step = static_cast<int>((in_range + 1.0f) * ((kSteps - 1) / 2.0f) + 0.5f);
    codes[j] = largest > 0 ? moment.table[step] : 0;
  }
}

// Updates the blocks of values [start, start + count), which p has. v is `second`, or encoded where this is null.
WPO_TARGET_CLONES void update_blocks(int64_t start, int64_t count, const AdamWParams a, float* p, const float* g,
                                     const EncodedMoment first, const EncodedMoment encoded_second, float* second) {
  float m[kBlock], decoded[kBlock];
  for (int64_t done = 0; done < count; done += kBlock) {
    const int64_t at = start + done, block = at / kBlock, n = std::min(kBlock, count - done);
    float* v = second ? second + at : decoded;
    decode(first, block, n, m);
    if (!second) decode(encoded_second, block, n, v);
    adamw_values(n, a, p + done, m, v, g + at);
    encode(first, block, n, m);
    if (!second) encode(encoded_second, block, n, v);
  }
}

// The inputs of updates.h: [AdamW's scalars, the signed map, the unsigned map], then p, codes and scales of m, codes
// and scales of v, g -> done []. Without kSecondEncoded, v itself is in the place of its codes and scales.
template <bool kSecondEncoded>
void adamw_8bit(OpContext& ctx) {
  const AdamW8bitParams params = read_adamw_8bit(ctx);
  const Updates updates = adamw_8bit_updates(ctx, kSecondEncoded);
  const std::vector<uint8_t> signed_codes = code_table(params.signed_map), codes = code_table(params.unsigned_map);
  const uint8_t *signed_table = signed_codes.data(), *table = codes.data();
  for (int i = 0; i < updates.size(); i++) {
    const auto encoded = [&](int k, const float* map, const uint8_t* of_map) {
      return EncodedMoment{updates.state<uint8_t>(i, k), updates.state(i, k + 1), map, of_map};
    };
    const UpdatedValue value = updates.value(i);
    const EncodedMoment m = encoded(0, params.signed_map, signed_table);
    EncodedMoment v = {};
    if (kSecondEncoded) v = encoded(2, params.unsigned_map, table);
    float* second = kSecondEncoded ? nullptr : updates.state(i, 2);
    const float* g = updates.gradient(i);
    const int64_t size = updates.count(i);
    static_assert(kPiece % kBlock == 0);  // a piece of values has whole blocks
    parallel(blocks_of(size), 8 * kBlock, [=](int64_t begin, int64_t end, int) {
      update_values(value, begin * kBlock, std::min(end * kBlock, size),
                    [=](float* p, int64_t at, int64_t n) { update_blocks(at, n, params.adamw, p, g, m, v, second); });
    });
  }
  *ctx.output_done() = 0;
}

}  // namespace

void register_adamw_8bit() {
  register_kernel<adamw_8bit<true>>("WpoAdamW8bit");
  register_kernel<adamw_8bit<false>>("WpoAdamWMean8bit");
}

}  // namespace wpo
