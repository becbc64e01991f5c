import { basename } from 'node:path';
import { agreement, checkLengths } from '../agree';
import { deviceGb, peakGb, perItem } from '../numbers';
import type { ReferenceAnswer } from '../ours/reference';
import { lengthsIn } from '../pairs';
import { row } from '../report';
import { BEST, ours, peerSide } from '../sides';
import { inTurns } from '../turns';
import type { Bench, Measured } from './measure';

/** Log-probs of both answers without gradients: the reference pass, and `wpo weigh`. */
export async function measureReference({ model, flags, peer, say }: Bench): Promise<Measured> {
  const measured: Measured[] = [];
  for (const file of [flags.pairs, flags.long]) {
    const of = `reference, ${basename(file)}`;
    const options = { model, pairs: file };
    const sides = [ours('reference', options), ...(peer ? [peerSide(peer, 'reference', options)] : [])];
    const lengths = await lengthsIn(model, file);
    const { turns, deviceBytes } = await inTurns<ReferenceAnswer>(sides, {
      items: lengths.length,
      rounds: flags.rounds,
      request: (pair) => ({ pair }),
      say: (line) => say(`${of}: ${line}`),
    });
    checkLengths(turns, lengths);
    const time = (side: string) => perItem(turns, side, ({ seconds }) => seconds);
    measured.push({
      rows: [
        row(of, 's a pair', 'less', time('ours')!, { [BEST]: time(BEST) }),
        row(of, 'peak GB', 'less', peakGb(turns, 'ours'), { [BEST]: peakGb(turns, BEST) }),
        row(of, 'GPU memory GB', 'less', deviceGb(deviceBytes.ours), { [BEST]: deviceGb(deviceBytes[BEST]) }),
        ...agreement(of, 'log-probs', turns, ['ours', BEST], ({ chosen, rejected }) => [chosen, rejected]),
      ],
      turns: turns.map((turn) => ({ measure: of, ...turn })),
    });
  }
  return { rows: measured.flatMap(({ rows }) => rows), turns: measured.flatMap(({ turns }) => turns) };
}
