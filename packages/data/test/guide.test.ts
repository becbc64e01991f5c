import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it } from 'vitest';
import { readRows } from '../src/node';
import { collect } from './fixtures';

// The examples of docs/data.md.

const dir = mkdtempSync(join(tmpdir(), 'wpo-guide-'));
afterAll(() => rmSync(dir, { recursive: true }));

const guide = readFileSync(fileURLToPath(new URL('../../../docs/data.md', import.meta.url)), 'utf8');
const examples = Array.from(guide.matchAll(/^```(jsonl|csv)\n(.*?)^```$/gms), ([, kind, text]) => ({
  kind: kind!,
  text: text!,
}));

const read = ({ kind, text }: (typeof examples)[number]) => {
  const path = join(dir, `rows.${kind}`);
  writeFileSync(path, text);
  return collect(readRows(path));
};

it('reads each example of the guide', async () => {
  const rows = [];
  for (const example of examples) rows.push(...(await read(example)));
  expect(
    rows.map(({ context, chosen, rejected }) => [context.map(({ content }) => content), chosen, rejected]),
  ).toEqual([
    [['Name a river.'], 'The Danube, in Europe.', 'No.'],
    [['Quote "Hamlet".'], '"To be, or not to be."', 'I cannot.'],
    [['2+2?'], '4', '5'],
    ...Array.from({ length: 4 }, () => [['Name a river.'], 'The Danube.', 'No.']),
    [['Do you speak German?', 'Yes.', 'Translate it.\n\nFluss'], 'River.', 'Flux.'],
    [['Answer in one word.\n\nWhich river flows through Vienna?'], 'Danube.', 'It is the Danube.'],
    ...Array.from({ length: 2 }, () => [['Name a river.'], 'The Danube.', 'No.']),
    [['Question: Name a river. Answer:'], ' The Danube.', ' No.'],
    [['Be brief.', 'Name a river.'], 'The Danube.', 'No.'],
    [['<start_of_turn>user\nName a river.<end_of_turn>\n<start_of_turn>model\n'], 'The Danube.', 'No.'],
  ]);
});
