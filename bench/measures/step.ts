import { basename } from 'node:path';
import type { ActivationCheckpointing } from '@wpo/gemma';
import { agreement, checkLengths } from '../agree';
import { deviceGb, peakGb, perItem } from '../numbers';
import type { StepAnswer } from '../ours/step';
import { lengthsIn } from '../pairs';
import { type Row, row } from '../report';
import { BEST, INSTALLED, ours, peerSide } from '../sides';
import { inTurns, type Side, type Turns } from '../turns';
import type { Bench, Measured } from './measure';

const RECOMPUTED = 'TRL at its best, checkpointing';

type Run = Turns<StepAnswer>;

/** Optimizer steps on one pair each: short prompts and long ones, blocks kept and computed again. */
export async function measureStep(bench: Bench): Promise<Measured> {
  const { flags } = bench;
  const short = basename(flags.pairs);
  const long = basename(flags.long);
  if (flags.checkpointing !== undefined) {
    const mode = flags.checkpointing;
    const peers = mode === 'always' ? [RECOMPUTED] : [BEST];
    const runs = [await run(bench, flags.pairs, [mode], peers), await run(bench, flags.long, [mode], peers)];
    const rows = [short, long].flatMap((name, i) => rowsOf(`step, ${name}, ${mode}`, runs[i]!, mode, peers));
    return { rows, turns: runs.flatMap(({ turns }, i) => named(`step, ${[short, long][i]}`, turns)) };
  }

  const main = await run(bench, flags.pairs, ['auto', 'always'], [BEST]);
  const longs = await run(bench, flags.long, ['auto'], [BEST]);
  const installed = bench.peer && (await run(bench, flags.pairs, ['auto'], [INSTALLED]));
  const recomputed = bench.peer && (await run(bench, flags.pairs, ['always'], [RECOMPUTED]));
  const again = `step, ${short}, all computed again`;
  return {
    rows: [
      ...rowsOf(`step, ${short}`, main, 'auto', [BEST]),
      ...(installed ? rowsOf(`step, ${short}`, installed, 'auto', [INSTALLED]).slice(0, 3) : []),
      ...rowsOf(`step, ${long}`, longs, 'auto', [BEST]),
      ...rowsOf(again, recomputed ?? main, 'always', [RECOMPUTED]).slice(0, 3),
      row(again, 'time over that of auto', 'less', seconds(main, 'always')! / seconds(main, 'auto')!),
    ],
    turns: Object.entries({ main, longs, installed, recomputed }).flatMap(([name, one]) =>
      one ? named(`step, ${name}`, one.turns) : [],
    ),
  };
}

/** Ours in each mode and, where there is a peer, each of its forms, pair by pair in turns. */
async function run(
  { model, flags, peer, say }: Bench,
  file: string,
  modes: readonly ActivationCheckpointing[],
  peers: readonly string[],
): Promise<Run> {
  const lengths = await lengthsIn(model, file);
  const sides: Side[] = [
    ...modes.map((checkpointing) => ours('step', { model, pairs: file, checkpointing }, nameOf(checkpointing))),
    ...(peer ? peers : []).map((name) => {
      const checkpointing = name === RECOMPUTED ? 'always' : 'never';
      return peerSide(peer!, 'step', { model, pairs: file, checkpointing }, name);
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

/** The rows of ours in one mode against peers. */
function rowsOf(
  of: string,
  { turns, startSeconds, deviceBytes }: Run,
  mode: ActivationCheckpointing,
  peers: readonly string[],
): Row[] {
  const name = nameOf(mode);
  const each = <T>(value: (side: string) => T) => Object.fromEntries(peers.map((peer) => [peer, value(peer)]));
  const time = (side: string) => perItem(turns, side, (turn) => turn.seconds);
  const products = perItem(turns, name, (turn) => turn.products!.seconds)!;
  const asFloats = perItem(turns, name, (turn) => turn.products!.asFloats)!;
  const flop = perItem(turns, name, (turn) => turn.products!.flop)!;
  const first = (side: string) => {
    const turn = turns.find((one) => one.side === side);
    return turn && startSeconds[side]! + turn.answer.seconds;
  };
  const over = (alone: number) => (side: string) => (time(side) === undefined ? undefined : time(side)! / alone);
  const kept = peers.every((peer) => peer !== RECOMPUTED);
  return [
    row(of, 's a pair', 'less', time(name)!, each(time)),
    row(
      of,
      'peak GB',
      'less',
      peakGb(turns, name),
      each((side) => peakGb(turns, side)),
    ),
    row(
      of,
      'GPU memory GB',
      'less',
      deviceGb(deviceBytes[name]),
      each((side) => deviceGb(deviceBytes[side])),
    ),
    ...[
      { products: 'matrix products', alone: products },
      { products: 'matrix products as floats', alone: asFloats },
    ].flatMap(({ products, alone }) => [
      row(of, `step over its ${products} alone`, 'less', over(alone)(name)!, kept ? each(over(alone)) : {}),
      row(of, `${products} alone, GFLOP/s`, 'given', flop / 1e9 / alone),
    ]),
    row(of, 'matrix products, GFLOP a pair', 'given', flop / 1e9),
    row(of, 'start to the end of the first step, s', 'less', first(name)!, each(first)),
    ...peers.flatMap((peer) => agreement(of, 'losses', turns, [name, peer], ({ loss }) => [loss])),
  ];
}

const named = (measure: string, turns: Turns<object>['turns']) => turns.map((turn) => ({ measure, ...turn }));
