import { basename } from 'node:path';
import type { ActivationCheckpointing } from '@wpo/gemma';
import { readLengths, readPairs } from '../inputs';
import type { MemoryAnswer, ReferenceAnswer, StepAnswer } from '../ours/training';
import { type Row, row } from '../report';
import { agreement, checkLengths, inGb, median, peakGb, perItem } from '../statistics';
import { DEFAULT, inTurns, open, ours, peerSide, type Side, TUNED, type Turns } from '../turns';
import { type Bench, join, type Measured } from './measure';

const TUNED_CHECKPOINTING = 'TRL, tuned, checkpointing';

type Run = Turns<StepAnswer>;

/** Optimizer steps on one pair each: short and long prompts, without and with full activation checkpointing. */
export async function measureStep(bench: Bench): Promise<Measured> {
  const { flags } = bench;
  const short = basename(flags.pairs);
  const long = basename(flags.long);
  if (flags.checkpointing !== undefined) {
    const mode = flags.checkpointing;
    const peers = mode === 'always' ? [TUNED_CHECKPOINTING] : [TUNED];
    const runs = [await run(bench, flags.pairs, [mode], peers), await run(bench, flags.long, [mode], peers)];
    const rows = [short, long].flatMap((name, i) => stepRows(`step, ${name}, ${mode}`, runs[i]!, mode, peers));
    return { rows, turns: runs.flatMap(({ turns }, i) => named(`step, ${[short, long][i]}`, turns)) };
  }

  const main = await run(bench, flags.pairs, ['auto', 'always'], [TUNED]);
  const longs = await run(bench, flags.long, ['auto'], [TUNED]);
  const byDefault = bench.peer && (await run(bench, flags.pairs, ['auto'], [DEFAULT]));
  const checkpointed = bench.peer && (await run(bench, flags.pairs, ['always'], [TUNED_CHECKPOINTING]));
  const full = `step, ${short}, full checkpointing`;
  return {
    rows: [
      ...stepRows(`step, ${short}`, main, 'auto', [TUNED]),
      ...(byDefault ? stepRows(`step, ${short}`, byDefault, 'auto', [DEFAULT]).slice(0, 3) : []),
      ...stepRows(`step, ${long}`, longs, 'auto', [TUNED]),
      ...stepRows(full, checkpointed ?? main, 'always', [TUNED_CHECKPOINTING]).slice(0, 3),
      row(full, 'time / that of auto', 'less', seconds(main, 'always')! / seconds(main, 'auto')!),
    ],
    turns: Object.entries({ main, longs, byDefault, checkpointed }).flatMap(([name, one]) =>
      one ? named(`step, ${name}`, one.turns) : [],
    ),
  };
}

/** Runs ours in each mode and, where there is a peer, each of its variants, pair by pair in turns. */
async function run(
  { model, flags, peer, say }: Bench,
  file: string,
  modes: readonly ActivationCheckpointing[],
  peers: readonly string[],
): Promise<Run> {
  const lengths = await readLengths(model, file);
  const sides: Side[] = [
    ...modes.map((checkpointing) => ours('step', { model, pairs: file, checkpointing }, nameOf(checkpointing))),
    ...(peer ? peers : []).map((name) => {
      const checkpointing = name === TUNED_CHECKPOINTING ? 'always' : 'never';
      return peerSide(peer!, 'step', { model, pairs: file, checkpointing, dtype: flags.dtype }, name);
    }),
  ];
  const found = await inTurns<StepAnswer>(sides, {
    items: lengths.length,
    rounds: flags.rounds,
    request: (pair, round) => ({ pair, products: round > 0 }),
    say: (line) => say(`step, ${basename(file)}: ${line}`),
  });
  checkLengths(found.turns, lengths);
  return found;
}

const nameOf = (mode: ActivationCheckpointing) => `ours, ${mode}`;

const seconds = ({ turns }: Run, mode: ActivationCheckpointing) => perItem(turns, nameOf(mode), (turn) => turn.seconds);

/** The results of ours in one mode, compared with the peers. */
function stepRows(
  of: string,
  { turns, startSeconds, deviceBytes }: Run,
  mode: ActivationCheckpointing,
  peers: readonly string[],
): Row[] {
  const name = nameOf(mode);
  const each = <T>(value: (side: string) => T) => Object.fromEntries(peers.map((peer) => [peer, value(peer)]));
  const compare = (what: string, value: (side: string) => number | null | undefined) =>
    row(of, what, 'less', value(name) ?? null, each(value));
  const time = (side: string) => perItem(turns, side, (turn) => turn.seconds);
  const productSeconds = perItem(turns, name, (turn) => turn.products!.seconds)!;
  const float32Seconds = perItem(turns, name, (turn) => turn.products!.float32Seconds)!;
  const flop = perItem(turns, name, (turn) => turn.products!.flop)!;
  const firstStepEnd = (side: string) => {
    const turn = turns.find((one) => one.side === side);
    return turn && startSeconds[side]! + turn.answer.seconds;
  };
  const recomputes = peers.includes(TUNED_CHECKPOINTING);
  return [
    compare('s per pair', time),
    compare('peak GB', (side) => peakGb(turns, side)),
    compare('GPU memory, GB', (side) => inGb(deviceBytes[side])),
    ...[
      { products: 'matrix products', alone: productSeconds },
      { products: 'float32 matrix products', alone: float32Seconds },
    ].flatMap(({ products, alone }) => {
      const over = (side: string) => (time(side) === undefined ? undefined : time(side)! / alone);
      return [
        row(of, `step time / that of its ${products}`, 'less', over(name)!, recomputes ? {} : each(over)),
        row(of, `${products}, GFLOP/s`, 'given', flop / 1e9 / alone),
      ];
    }),
    row(of, 'matrix products, GFLOP per pair', 'given', flop / 1e9),
    compare('process start to end of first step, s', firstStepEnd),
    ...peers.flatMap((peer) => agreement(of, 'losses', turns, [name, peer], ({ loss }) => [loss])),
  ];
}

const named = (measure: string, turns: Turns<object>['turns']) => turns.map((turn) => ({ measure, ...turn }));

/** Log-probs of both answers without gradients: the reference pass, and `wpo weigh`. */
export async function measureReference({ model, flags, peer, say }: Bench): Promise<Measured> {
  const measured: Measured[] = [];
  for (const file of [flags.pairs, flags.long]) {
    const of = `reference, ${basename(file)}`;
    const options = { model, pairs: file };
    const sides = [ours('reference', options), ...(peer ? [peerSide(peer, 'reference', options)] : [])];
    const lengths = await readLengths(model, file);
    const { turns, deviceBytes } = await inTurns<ReferenceAnswer>(sides, {
      items: lengths.length,
      rounds: flags.rounds,
      request: (pair) => ({ pair }),
      say: (line) => say(`${of}: ${line}`),
    });
    checkLengths(turns, lengths);
    const time = (side: string) => perItem(turns, side, (answer) => answer.seconds);
    measured.push({
      rows: [
        row(of, 's per pair', 'less', time('ours')!, { [TUNED]: time(TUNED) }),
        row(of, 'peak GB', 'less', peakGb(turns, 'ours'), { [TUNED]: peakGb(turns, TUNED) }),
        row(of, 'GPU memory, GB', 'less', inGb(deviceBytes.ours), { [TUNED]: inGb(deviceBytes[TUNED]) }),
        ...agreement(of, 'log-probs', turns, ['ours', TUNED], ({ chosen, rejected }) => [chosen, rejected]),
      ],
      turns: turns.map((turn) => ({ measure: of, ...turn })),
    });
  }
  return join(measured);
}

/** Steps after which memory must not grow. */
const WARM_UP_STEPS = 50;
/** Samples of memory after that. */
const SAMPLES = 19;
/** Samples at the beginning and at the end. Their medians are compared, because single samples vary by a few percent. */
const AVERAGED = 5;

/** Growth of memory over many steps, by default of a small model. */
export async function measureMemory({ small, flags, say }: Bench): Promise<Measured> {
  const model = flags.memoryModel ?? small;
  const warmUp = Math.min(WARM_UP_STEPS, Math.ceil(flags.steps / 2));
  const count = (await readPairs(model, flags.pairs)).length;
  const worker = await open(ours('memory', { model, pairs: flags.pairs, count }));
  const turns: { measure: string; steps: number; residentBytes: number }[] = [];
  try {
    for (let steps = 0; steps < flags.steps; ) {
      const next = steps < warmUp ? warmUp : Math.min(flags.steps, steps + Math.ceil((flags.steps - warmUp) / SAMPLES));
      say(`memory: step ${steps} of ${flags.steps}`);
      const { residentBytes } = await worker.ask<MemoryAnswer>({ steps: next - steps });
      turns.push({ measure: 'memory', steps: next, residentBytes });
      steps = next;
    }
  } finally {
    await worker.close();
  }
  const over = (some: typeof turns) => median(some.map(({ residentBytes }) => residentBytes));
  const [first, last] = [over(turns.slice(0, AVERAGED)), over(turns.slice(-AVERAGED))];
  const of = `memory, ${flags.steps} steps`;
  return {
    rows: [
      row(of, `resident after step ${warmUp}, GB`, 'given', turns[0]!.residentBytes / 1e9),
      row(of, `growth after step ${warmUp}, MB`, 'less', (last - first) / 1e6),
      row(of, `growth after step ${warmUp}, %`, 'less', 100 * (last / first - 1)),
    ],
    turns,
  };
}
