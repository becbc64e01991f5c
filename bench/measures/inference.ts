import { readPairs } from '../inputs';
import type { GenerateAnswer, LoadAnswer } from '../ours/inference';
import { row } from '../report';
import { inGb, median, peakGb, perItem, WITHOUT_MAPPED } from '../statistics';
import { type Answer, inTurns, open, ours, peerSide, TUNED } from '../turns';
import { type Bench, join, type Measured } from './measure';

const BATCH = 8;

/** Our side with float32 weights, where the other sides hold them in bfloat16. */
const IN_FLOAT32 = 'ours, float32';

/** Tokens per second of generation, with and without the prompts: one prompt at a time, and eight at once. */
export async function measureGenerate({ model, flags, peer, say }: Bench): Promise<Measured> {
  const pairs = [...(await readPairs(model, flags.pairs)), ...(await readPairs(model, flags.long))];
  const prompts = Array.from({ length: BATCH }, (_, i) => Array.from(pairs[i % pairs.length]!.prompt));
  const { dtype } = flags;
  const sides = [
    ours('generate', { model, dtype }),
    ...(dtype === 'bfloat16' ? [ours('generate', { model, dtype: 'float32' }, IN_FLOAT32)] : []),
    ...(peer ? [peerSide(peer, 'generate', { model, dtype })] : []),
  ];
  const others = sides.slice(1).map(({ name }) => name);
  const measured: Measured[] = [];
  for (const batches of [prompts.map((prompt) => [prompt]), [prompts]]) {
    const of = `generate, ${dtype}, batch ${batches[0]!.length}`;
    const { turns, anonymousBytes, deviceBytes } = await inTurns<GenerateAnswer>(sides, {
      items: batches.length,
      rounds: flags.rounds,
      request: (item) => ({ prompts: batches[item]!, tokens: flags.tokens }),
      say: (line) => say(`${of}: ${line}`),
    });
    const rate = (tokens: number, secondsOf: (answer: GenerateAnswer) => number) => (side: string) => {
      const seconds = perItem(turns, side, secondsOf);
      return seconds === undefined ? undefined : (batches[0]!.length * tokens) / seconds;
    };
    const all = rate(flags.tokens, ({ seconds }) => seconds);
    const later = rate(flags.tokens - 1, ({ seconds, firstTokenSeconds }) => seconds - firstTokenSeconds);
    const ids = (side: string) => turns.filter((turn) => turn.side === side).flatMap(({ answer }) => answer.ids.flat());
    const own = ids('ours');
    const each = <V>(value: (side: string) => V) => Object.fromEntries(others.map((side) => [side, value(side)]));
    const same = (side: string) => (100 * ids(side).filter((id, i) => id === own[i]).length) / own.length;
    measured.push({
      rows: [
        row(of, 'tokens/s, prompts included', 'more', all('ours')!, each(all)),
        row(of, 'tokens/s after the first token', 'more', later('ours')!, each(later)),
        row(
          of,
          'peak GB',
          'less',
          peakGb(turns, 'ours'),
          each((side) => peakGb(turns, side)),
        ),
        row(
          of,
          WITHOUT_MAPPED,
          'less',
          inGb(anonymousBytes.ours),
          each((side) => inGb(anonymousBytes[side])),
        ),
        row(
          of,
          'GPU memory, GB',
          'less',
          inGb(deviceBytes.ours),
          each((side) => inGb(deviceBytes[side])),
        ),
        row(of, 'tokens equal to ours, %', 'given', null, each(same)),
      ],
      turns: turns.map(({ answer: { seconds, firstTokenSeconds, peakBytes }, ...turn }) => ({
        measure: of,
        ...turn,
        answer: { seconds, firstTokenSeconds, peakBytes },
      })),
    });
  }
  return join(measured);
}

interface LoadTurn {
  readonly side: string;
  readonly round: number;
  readonly startSeconds: number;
  readonly anonymousBytes: number | null;
  readonly answer: LoadAnswer & Answer;
}

/** From a checkpoint on disk to weights in memory, in a new process each time. */
export async function measureLoad({ model, flags, peer, say }: Bench): Promise<Measured> {
  const { dtype } = flags;
  const sides = [ours('load', { model, dtype }), ...(peer ? [peerSide(peer, 'load', { model, dtype })] : [])];
  const turns: LoadTurn[] = [];
  for (let round = 0; round <= flags.rounds; round++) {
    for (const side of sides) {
      say(`load: ${round === 0 ? 'warming up' : `round ${round} of ${flags.rounds}`}, ${side.name}`);
      const worker = await open(side);
      try {
        const answer = await worker.ask<LoadAnswer>({});
        const [startSeconds, anonymousBytes] = [worker.startSeconds, worker.anonymousBytes()];
        turns.push({ side: side.name, round, startSeconds, anonymousBytes, answer });
      } finally {
        await worker.close();
      }
    }
  }
  const over = (side: string, value: (turn: LoadTurn) => number) => {
    const values = turns.filter((turn) => turn.side === side && turn.round > 0).map(value);
    return values.length === 0 ? undefined : median(values);
  };
  const { bytes = 0 } = turns[0]!.answer;
  const own = (value: (turn: LoadTurn) => number) => over('ours', value)!;
  const both = (what: string, value: (turn: LoadTurn) => number) =>
    row('load', what, 'less', own(value), { [TUNED]: over(TUNED, value) });
  return {
    rows: [
      both('weights in memory, s', ({ answer }) => answer.seconds),
      both('and a first token, s', ({ answer }) => answer.firstTokenSeconds),
      both('from process start, s', ({ startSeconds, answer }) => startSeconds + answer.firstTokenSeconds),
      both('peak GB', ({ answer }) => (answer.peakBytes ?? Number.NaN) / 1e9),
      both(WITHOUT_MAPPED, ({ anonymousBytes }) => (anonymousBytes ?? Number.NaN) / 1e9),
      row('load', 'checkpoint, GB', 'given', bytes / 1e9),
      row(
        'load',
        'GB/s',
        'given',
        own(({ answer }) => bytes / 1e9 / answer.seconds),
      ),
      row(
        'load',
        'GB/s of only reading the files',
        'given',
        own(({ answer }) => bytes / 1e9 / answer.readSeconds!),
      ),
    ],
    turns: turns.map((turn) => ({ measure: 'load', ...turn })),
  };
}
