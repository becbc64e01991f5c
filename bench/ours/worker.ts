// This library's side of the benchmark: `node worker.mjs KIND OPTIONS` does one turn for each line on stdin.
import { createInterface } from 'node:readline';
import { peakBytes } from '../process-memory';
import { openData } from './data';
import { openFacts } from './facts';
import { openGenerate } from './generate';
import { openLoad } from './load';
import { openMemory } from './memory';
import { openReference } from './reference';
import { openStep } from './step';

const kinds = {
  data: openData,
  facts: openFacts,
  generate: openGenerate,
  load: openLoad,
  memory: openMemory,
  reference: openReference,
  step: openStep,
};

/** What a kind does in a turn; what it resolves to is asked for once the turn's memory is known. */
type Serve = (request: never) => Promise<() => Promise<object>>;

const [kind, options] = process.argv.slice(2) as [keyof typeof kinds, string];
const say = (answer: object) => void process.stdout.write(`@${JSON.stringify(answer)}\n`);

const serve: Serve = await kinds[kind](JSON.parse(options));
say({});
for await (const line of createInterface({ input: process.stdin })) {
  const answer = await serve(JSON.parse(line) as never);
  const peak = peakBytes();
  say({ ...(await answer()), peakBytes: peak });
}
