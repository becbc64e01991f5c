import { existsSync, readFileSync } from 'node:fs';
import { type Kernels, portableBf16Kernels, portableKernels } from '@wpo/gemma';
import type { OptimizerKernel, Parameter } from '@wpo/trainer';
import { afterAll, beforeAll } from 'vitest';
import { nativeKernels } from '../src/kernels/kernels';
import type { LogitLimits } from '../src/kernels/logit-limits';
import { nativeOperations } from '../src/kernels/native';
import { nativeGradientNorm, nativeOptimizer } from '../src/kernels/optimizer';

/** A set of kernels on TensorFlow that must give the results of the portable ones. */
export interface Tier {
  readonly kernels: (limits?: LogitLimits) => Kernels;
  readonly portable: Kernels;
  /** Of operations that compute operands of a product, relative to the largest value: if rounded, these may differ by a bit. */
  readonly tolerance?: number;
  readonly optimizer: OptimizerKernel;
  readonly norm: (parameters: readonly Parameter[]) => Promise<number>;
}

process.env.WPO_THREADS = '2'; // read by the first operation: kernels are tested with several threads
nativeOperations(); // loads the native operations

export const nativeTier: Tier = {
  kernels: (limits) => nativeKernels({ limits }),
  portable: portableKernels,
  optimizer: nativeOptimizer,
  norm: nativeGradientNorm,
};

/** With products of bfloat16. */
export const nativeBf16Tier: Tier = {
  ...nativeTier,
  kernels: (limits) => nativeKernels({ limits, precision: 'bfloat16' }),
  portable: portableBf16Kernels,
  tolerance: 2 ** -7,
};

/** The instruction sets of native/gemm/isa.h, the best first, and the flag of a CPU that has them. A CPU that lacks one uses the next. */
const FLAGS = {
  amx: 'amx_bf16',
  avx512_bf16: 'avx512_bf16',
  avx512: 'avx512dq',
  avx2: 'avx2',
  sse: undefined,
} as const;
type Isa = keyof typeof FLAGS;

const cpuInfo = existsSync('/proc/cpuinfo') ? readFileSync('/proc/cpuinfo', 'utf8') : undefined;
const isHere = (isa: Isa) => cpuInfo === undefined || FLAGS[isa] === undefined || cpuInfo.includes(` ${FLAGS[isa]} `);
const all = Object.keys(FLAGS) as Isa[];
const missing = all.filter((isa) => !isHere(isa));
if (missing.length > 0) console.warn(`SKIPPED: kernels for ${missing.join(', ')}: this CPU lacks these instructions.`);

/** Those with products of bfloat16 of their own, which this CPU has. */
export const BF16_ISAS: readonly Isa[] = all.filter(isHere);
/** Those that this CPU has. */
export const ISAS: readonly Isa[] = BF16_ISAS.filter((isa) => isa !== 'avx512_bf16');

/** Limits the tests of a `describe` to an instruction set. */
export function limitIsa(isa: Isa): void {
  beforeAll(() => {
    process.env.WPO_ISA = isa;
  });
  afterAll(() => {
    delete process.env.WPO_ISA;
  });
}
