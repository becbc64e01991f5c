import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeRows } from '../inputs';
import { watchTree } from '../memory';
import type { DataAnswer } from '../ours/worker';
import { row } from '../report';
import { inGb } from '../statistics';
import { type Answer, open, ours, peerSide, TUNED } from '../turns';
import type { Bench, Measured } from './measure';

/** Encodes rows of text to token ids, once per side: the run is long enough to need no warm-up. */
export async function measureData({ model, flags, texts, peer, say }: Bench): Promise<Measured> {
  const rows = join(tmpdir(), 'rows.jsonl');
  say(`data: writing ${flags.rows} rows`);
  await writeRows(rows, texts, flags.rows);
  const options = { model, rows, count: flags.rows };
  const found: Record<string, { answer: DataAnswer & Answer; bytes: number | null }> = {};
  for (const side of [ours('data', options), ...(peer ? [peerSide(peer, 'data', options)] : [])]) {
    say(`data: ${side.name}`);
    const worker = await open(side);
    try {
      const { result, bytes } = await watchTree(worker.pid, () => worker.ask<DataAnswer>({}));
      found[side.name] = { answer: result, bytes };
    } finally {
      await worker.close();
    }
  }
  const { answer, bytes } = found.ours!;
  const theirs = found[TUNED];
  return {
    rows: [
      row('data', 'rows/s', 'more', answer.rows / answer.seconds, {
        [TUNED]: theirs && theirs.answer.rows / theirs.answer.seconds,
      }),
      row('data', 'tokens', 'given', answer.tokens, { [TUNED]: theirs?.answer.tokens }),
      row('data', 'peak GB, all its processes', 'less', inGb(bytes), { [TUNED]: inGb(theirs?.bytes) }),
      row('data', 'growth of resident memory after a tenth of the rows, MB', 'given', answer.growthBytes! / 1e6),
      row('data', 'cores used', 'given', answer.cores!),
    ],
    turns: Object.entries(found).map(([side, one]) => ({ measure: 'data', side, ...one })),
  };
}
