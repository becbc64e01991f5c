import { deviceGb, peakGb, perItem } from '../numbers';
import type { GenerateAnswer } from '../ours/generate';
import { readPairs } from '../pairs';
import { row } from '../report';
import { BEST, ours, peerSide } from '../sides';
import { inTurns } from '../turns';
import type { Bench, Measured } from './measure';

const BATCH = 8;

/** Tokens a second with the keys and values kept, prompts included: one prompt at a time, and eight. */
export async function measureGenerate({ model, flags, peer, say }: Bench): Promise<Measured> {
  const pairs = [...(await readPairs(model, flags.pairs)), ...(await readPairs(model, flags.long))];
  const prompts = Array.from({ length: BATCH }, (_, i) => Array.from(pairs[i % pairs.length]!.prompt));
  const sides = [ours('generate', { model }), ...(peer ? [peerSide(peer, 'generate', { model })] : [])];
  const measured: Measured[] = [];
  for (const batches of [prompts.map((prompt) => [prompt]), [prompts]]) {
    const of = `generate, batch ${batches[0]!.length}`;
    const { turns, deviceBytes } = await inTurns<GenerateAnswer>(sides, {
      items: batches.length,
      rounds: flags.rounds,
      request: (item) => ({ prompts: batches[item]!, tokens: flags.tokens }),
      say: (line) => say(`${of}: ${line}`),
    });
    const rate = (side: string) => {
      const seconds = perItem(turns, side, (answer) => answer.seconds);
      return seconds === undefined ? undefined : (batches[0]!.length * flags.tokens) / seconds;
    };
    const ids = (side: string) => turns.filter((turn) => turn.side === side).flatMap(({ answer }) => answer.ids.flat());
    const own = ids('ours');
    const theirs = ids(BEST);
    const same = theirs.filter((id, i) => id === own[i]).length / theirs.length;
    measured.push({
      rows: [
        row(of, 'tokens/s', 'more', rate('ours')!, { [BEST]: rate(BEST) }),
        row(of, 'peak GB', 'less', peakGb(turns, 'ours'), { [BEST]: peakGb(turns, BEST) }),
        row(of, 'GPU memory GB', 'less', deviceGb(deviceBytes.ours), { [BEST]: deviceGb(deviceBytes[BEST]) }),
        row(of, 'tokens that are ours, %', 'given', null, { [BEST]: peer && 100 * same }),
      ],
      turns: turns.map(({ answer: { seconds, peakBytes }, ...turn }) => ({
        measure: of,
        ...turn,
        answer: { seconds, peakBytes },
      })),
    });
  }
  return { rows: measured.flatMap(({ rows }) => rows), turns: measured.flatMap(({ turns }) => turns) };
}
