import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import type { Gemma2Preset } from '@wpo/gemma';
import type { Flags, GpuPart } from './flags';
import { ensureModel, readLengths, writePairOfLength } from './inputs';
import { measureAttention } from './measures/attention';
import { measureGenerate } from './measures/inference';
import { runLora } from './measures/lora';
import { type Bench, join, type Measured } from './measures/measure';
import type { LoraAnswer } from './ours/lora';
import { type Row, row } from './report';
import { checkLengths } from './statistics';
import { inTurns, ours, peerSide, type Side, type Turn } from './turns';

// `npm run bench -- --gpu`: one script for a machine that is lent for half an hour. It checks the GPU's numbers on the shape of
// Gemma-2 2B, checks and times fused attention, then measures LoRA steps on 2B and 9B, within a limit of time, and reports what it did not get to.

/** A part of the script. */
interface Part {
  readonly name: GpuPart;
  /** Seconds that it takes at most, by estimate. It is not started with less time left. */
  readonly seconds: number;
  run(): Promise<Measured>;
}

export interface GpuResult {
  readonly measured: Measured;
  /** A line for each part that was not run, or not to its end, with the command that runs it. */
  readonly notRun: readonly string[];
  /** Lines about numbers that are further from float32 than they may be. */
  readonly wrong: readonly string[];
}

/** The sizes of one run. `--dry` replaces them by such as run anywhere in a minute. */
const REAL = {
  small: '2b',
  large: '9b',
  tokens: 2048,
  attentionTokens: [2048, 4096, 8192],
  checkTokens: 256,
  seconds: 1,
} as const;
const DRY = {
  small: 'tiny',
  large: 'tiny',
  tokens: 256,
  attentionTokens: [64],
  checkTokens: 128,
  seconds: 0.1,
} as const;

/**
 * Runs the script's parts in order.
 *
 * @param bench.flags `only` in `gpuParts`, `dry`, `minutes`, `rounds`
 * @param cache folder for the models, which stay for the next run
 */
export async function runGpu(bench: Omit<Bench, 'model'>, cache: string): Promise<GpuResult> {
  const { flags, small: tokenizerFrom, peer, say } = bench;
  const sizes = flags.dry ? DRY : REAL;
  const wrong: string[] = [];
  const modelOf = (preset: Gemma2Preset) => ensureModel(preset, { cache, tokenizerFrom, say });
  const lora = async (preset: Gemma2Preset) =>
    runLora({
      model: await modelOf(preset),
      text: flags.pairs,
      tokens: sizes.tokens,
      rank: flags.loraR,
      dtype: 'bfloat16',
      checkpointing: flags.checkpointing ?? 'auto',
      rounds: flags.rounds,
      peer,
      say,
    }).then((found) => named(`${preset}, `, found));
  const all: Record<GpuPart, Omit<Part, 'name'>> = {
    check: {
      seconds: 240,
      run: async () => {
        const found = await checkNumbers(bench, await modelOf(sizes.small), sizes.checkTokens);
        wrong.push(...found.wrong);
        return named(`${sizes.small}, `, found.measured);
      },
    },
    attention: {
      seconds: 120,
      run: async () => {
        const found = await measureAttention(bench, sizes.attentionTokens);
        wrong.push(...found.wrong);
        return found.measured;
      },
    },
    'lora-2b': { seconds: 240, run: () => lora(sizes.small) },
    'generate-2b': {
      seconds: 150,
      run: async () => {
        const options = { ...flags, dtype: 'bfloat16' as const };
        return named(
          `${sizes.small}, `,
          await measureGenerate({ ...bench, flags: options, model: await modelOf(sizes.small) }),
        );
      },
    },
    'lora-9b': { seconds: 600, run: () => lora(sizes.large) },
  };
  const parts = flags.gpuParts.map((name) => ({ name, ...all[name], seconds: sizes.seconds * all[name].seconds }));
  return { ...(await runWithin(60 * flags.minutes, parts, flags, say)), wrong };
}

/** Runs parts while there is time. One that fails or takes too long does not keep the others from being reported. */
export async function runWithin(
  limit: number,
  parts: readonly Part[],
  flags: Pick<Flags, 'peer'>,
  say: (line: string) => void,
): Promise<Omit<GpuResult, 'wrong'>> {
  const start = performance.now();
  const measured: Measured[] = [];
  const notRun: string[] = [];
  for (const { name, seconds, run } of parts) {
    const left = limit - (performance.now() - start) / 1000;
    const skip = (why: string) =>
      notRun.push(
        `${name}: ${why}. Run it: npm run bench -- --gpu --only ${name}${flags.peer ? ` --peer ${flags.peer}` : ''}`,
      );
    if (left < seconds) {
      skip(`not started: it takes up to ${Math.ceil(seconds)} s, and ${Math.max(0, Math.floor(left))} s were left`);
      continue;
    }
    say(`${name}: ${Math.floor(left)} s left`);
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(new Error(`stopped after ${Math.floor(left)} s, at the end of the time`)),
        1000 * left,
      );
    });
    try {
      measured.push(await Promise.race([run(), timeout]));
    } catch (error) {
      skip((error as Error).message.trim().split('\n').join(' | '));
    } finally {
      clearTimeout(timer);
    }
  }
  if (!flags.peer) notRun.push('TRL + PEFT: no --peer was given');
  return { measured: join(measured), notRun };
}

const named = (prefix: string, { rows, turns }: Measured): Measured => ({
  rows: rows.map((one) => ({ ...one, of: prefix + one.of })),
  turns,
});

/** Relative differences from float32 on a CPU that are rounding. Products of a GPU add in another order. */
const ALLOWED = { logps: 1e-5, loss: 1e-5, gradNorm: 1e-4 };

const ON_CPU = 'CPU, float32';

/** What a side computed; the peer has no gradient norm here. */
type Numbers = Pick<LoraAnswer, 'loss' | 'gradNorm' | 'lengths'> & {
  readonly chosen: number;
  readonly rejected: number;
};

/**
 * Compares log-probs, losses and gradient norms of two LoRA steps: bfloat16 weights, float32 weights, and float32 on the CPU. All
 * must agree, since bfloat16 weights are multiplied exactly. Beside them are the log-probs of transformers in float32.
 */
export async function checkNumbers(
  { flags, peer, say }: Pick<Bench, 'flags' | 'peer' | 'say'>,
  model: string,
  tokens: number,
): Promise<{ readonly measured: Measured; readonly wrong: readonly string[] }> {
  const pairs = joinPath(tmpdir(), `check-${tokens}.jsonl`);
  await writePairOfLength(pairs, model, tokens, flags.pairs);
  const options = { model, pairs, checkpointing: 'auto', rank: flags.loraR };
  const env = { BENCH_PRECISION: 'float32' }; // also with --precision bfloat16, whose rounding is larger than these differences
  const sides: Side[] = [
    { ...ours('lora', { ...options, dtype: 'float32' }, ON_CPU), env: { ...env, CUDA_VISIBLE_DEVICES: '' } },
    { ...ours('lora', { ...options, dtype: 'float32' }, 'float32'), env },
    { ...ours('lora', { ...options, dtype: 'bfloat16' }, 'bfloat16'), env },
    ...(peer ? [peerSide(peer, 'reference', { model, pairs, dtype: 'float32' }, 'transformers, float32')] : []),
  ];
  const of = `check, ${tokens} tokens`;
  const { turns } = await inTurns<Numbers>(sides, {
    items: 1,
    rounds: 1,
    request: (pair) => ({ pair }),
    say: (line) => say(`${of}: ${line}`),
  });
  checkLengths(turns, await readLengths(model, pairs));
  const results = sides.slice(1).flatMap(({ name }) => differences(turns, name));
  const rows = results.map(
    ({ side, what, found }): Row => row(`${of}, ${side}`, `${what}: relative difference from CPU`, 'given', found),
  );
  const wrong = results.flatMap(({ side, what, found, allowed }) =>
    found <= allowed
      ? []
      : [`${of}: ${side}: ${what}: expected a relative difference of at most ${allowed}, found ${found}`],
  );
  return { measured: { rows, turns: turns.map((turn) => ({ measure: of, ...turn })) }, wrong };
}

function differences(turns: readonly Turn<Numbers>[], side: string) {
  const of = (name: string) => turns.filter((turn) => turn.side === name).map(({ answer }) => answer);
  const [expected, found] = [of(ON_CPU), of(side)];
  const largest = (numbers: (answer: Numbers) => readonly (number | undefined)[]) =>
    Math.max(
      ...expected.flatMap((answer, i) =>
        numbers(answer).map((value, j) => Math.abs(numbers(found[i]!)[j]! / value! - 1)),
      ),
    );
  const isPeer = found[0]!.gradNorm === undefined;
  return [
    {
      side,
      what: 'log-probs',
      found: largest(({ chosen, rejected }) => [chosen, rejected]),
      allowed: isPeer ? 1e-4 : ALLOWED.logps,
    },
    ...(isPeer
      ? []
      : [
          { side, what: 'losses', found: largest(({ loss }) => [loss]), allowed: ALLOWED.loss },
          { side, what: 'gradient norms', found: largest(({ gradNorm }) => [gradNorm]), allowed: ALLOWED.gradNorm },
        ]),
  ];
}
