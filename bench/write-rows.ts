import { createWriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import type { PreferenceRow } from '@wpo/data';
import { readRows } from '@wpo/data/node';
import { seededRandom } from '@wpo/gemma';

/** Answers put one after another to make one: about as long as UltraFeedback's. */
const MOST_PARTS = 5;

/** Writes preference rows of real text: a prompt, and two answers made of several that were given to others. */
export async function writeRows(path: string, texts: readonly string[], count: number): Promise<void> {
  const rows: PreferenceRow[] = [];
  for (const text of texts) for await (const row of readRows(text)) rows.push(row);
  const answers = rows.flatMap(({ chosen, rejected }) => [chosen, rejected]);
  const random = seededRandom(0);
  const draw = <T>(from: readonly T[]) => from[Math.floor(random() * from.length)]!;
  const answer = () => Array.from({ length: 1 + Math.floor(random() * MOST_PARTS) }, () => draw(answers)).join('\n\n');
  await pipeline(function* () {
    for (let i = 0; i < count; i++) {
      const { context } = draw(rows);
      const side = () => [...context, { role: 'assistant', content: answer() }];
      yield `${JSON.stringify({ prompt: context.at(-1)!.content, chosen: side(), rejected: side() })}\n`;
    }
  }, createWriteStream(path));
}
