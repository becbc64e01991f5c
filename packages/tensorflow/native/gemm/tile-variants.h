// Compiles a kernel of tiles once for each ISA and precision. Included inside of a namespace by a file that defines
// WPO_TILES_VARIANT(name, target attribute, tiles), which makes an `IsaVariant` of that name. `variant(isa, precision)`
// returns the one without AMX; those with AMX are amx and amx_bf16.
#define WPO_ISA_VARIANT(name, target, V, M) WPO_TILES_VARIANT(name, target, FloatTiles<V, M>)
WPO_ISA_VARIANTS
#undef WPO_ISA_VARIANT

namespace rounded {
#define WPO_ISA_VARIANT(name, target, V, M) WPO_TILES_VARIANT(name, target, FloatTiles<V, M, RoundedFloat>)
WPO_ISA_VARIANTS
#undef WPO_ISA_VARIANT
#ifdef WPO_AVX512_BF16
WPO_TILES_VARIANT(avx512_bf16, WPO_AVX512_BF16, Bf16Tiles)
#endif
}  // namespace rounded

const IsaVariant& variant(Isa isa, Precision precision) {
  if (precision == Precision::kFloat32) return variant(isa);
#ifdef WPO_AVX512_BF16
  if (isa >= Isa::kAvx512Bf16) return rounded::avx512_bf16;
#endif
  return rounded::variant(isa);
}

#ifdef WPO_AMX
WPO_TILES_VARIANT(amx, WPO_AMX, Bf16x3Tiles<>)
WPO_TILES_VARIANT(amx_bf16, WPO_AMX, AmxBf16Tiles)
#endif
