import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import type { ActivationCheckpointing } from '@wpo/gemma';
import { readModelFolder } from '@wpo/gemma/node';
import type { Dtype } from '../flags';
import { readLengths, writePairOfLength } from '../inputs';
import { loraFlop } from '../matrix-products';
import type { LoraAnswer } from '../ours/lora';
import { row } from '../report';
import { agreement, checkLengths, inGb, peakGb, perItem, WITHOUT_MAPPED } from '../statistics';
import { inTurns, ours, type Peer, peerSide } from '../turns';
import type { Bench, Measured } from './measure';

/** TRL's trainer with PEFT's adapter, and the memory settings of `TUNED`. */
export const PEFT = 'TRL + PEFT';

/** A LoRA step to measure. */
export interface LoraRun {
  readonly model: string;
  /** A file of preference rows, from whose text a pair is made. */
  readonly text: string;
  /** Tokens of the pair: its prompt, which counts once, and both answers. */
  readonly tokens: number;
  readonly rank: number;
  /** How the base model's weights are held. */
  readonly dtype: Dtype;
  readonly checkpointing: ActivationCheckpointing;
  readonly rounds: number;
  readonly peer: Peer | undefined;
  readonly say: (line: string) => void;
}

/** Optimizer steps of a LoRA adapter on one pair. */
export const measureLora = ({ model, flags, peer, say }: Bench): Promise<Measured> =>
  runLora({
    model,
    text: flags.pairs,
    tokens: flags.pairTokens,
    rank: flags.loraR,
    dtype: flags.dtype,
    checkpointing: flags.checkpointing ?? 'auto',
    rounds: flags.rounds,
    peer,
    say,
  });

/** Measures ours, and TRL with PEFT in turns. The peer recomputes all layers in the backward pass. */
export async function runLora(run: LoraRun): Promise<Measured> {
  const { model, text, tokens, rank, dtype, checkpointing, rounds, peer, say } = run;
  const pairs = joinPath(tmpdir(), `pair-${tokens}.jsonl`);
  await writePairOfLength(pairs, model, tokens, text);
  const lengths = await readLengths(model, pairs);
  const { prompt, chosen, rejected } = lengths[0]!;
  const packed = prompt + chosen + rejected;
  const { config, checkpoint } = await readModelFolder(model);
  await checkpoint.close();

  const options = { model, pairs, dtype };
  const sides = [
    ours('lora', { ...options, checkpointing, rank }),
    ...(peer ? [peerSide(peer, 'step', { ...options, checkpointing: 'always', lora_r: rank }, PEFT)] : []),
  ];
  const of = `LoRA step, r = ${rank}, ${dtype}, ${packed} tokens`;
  const found = await inTurns<LoraAnswer>(sides, {
    items: 1,
    rounds,
    request: (pair) => ({ pair }),
    say: (line) => say(`${of}: ${line}`),
  });
  const { turns, anonymousBytes, deviceBytes, startSeconds } = found;
  checkLengths(turns, lengths);

  const names = sides.slice(1).map(({ name }) => name);
  const compare = (what: string, better: 'less' | 'more', value: (side: string) => number | null | undefined) =>
    row(of, what, better, value('ours') ?? null, Object.fromEntries(names.map((side) => [side, value(side)])));
  const seconds = (side: string) => perItem(turns, side, (answer) => answer.seconds);
  const per = (count: number) => (side: string) => {
    const time = seconds(side);
    return time === undefined ? undefined : count / time;
  };
  const { flop, recomputedFlop } = loraFlop(config, lengths[0]!, rank);
  const firstStepEnd = (side: string) => {
    const turn = turns.find((one) => one.side === side);
    return turn && startSeconds[side]! + turn.answer.seconds;
  };
  return {
    rows: [
      compare('s per pair', 'less', seconds),
      compare('tokens/s', 'more', per(packed)),
      compare('TFLOP/s, each product counted once', 'more', per(flop / 1e12)),
      compare('TFLOP/s, with all layers recomputed', 'more', per((flop + recomputedFlop) / 1e12)),
      compare('peak GB', 'less', (side) => peakGb(turns, side)),
      compare(WITHOUT_MAPPED, 'less', (side) => inGb(anonymousBytes[side])),
      compare('GPU memory, GB', 'less', (side) => inGb(deviceBytes[side])),
      compare('process start to end of first step, s', 'less', firstStepEnd),
      row(of, 'TFLOP per pair, each product counted once', 'given', flop / 1e12),
      row(of, 'loss of the first step', 'given', turns.find(({ side }) => side === 'ours')!.answer.loss),
      ...names.flatMap((side) => agreement(of, 'losses', turns, ['ours', side], ({ loss }) => [loss])),
    ],
    turns: turns.map((turn) => ({ measure: of, ...turn })),
  };
}
