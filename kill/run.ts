import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { seededRandom } from '../internal/src/random';
import { hubServer } from '../packages/data/test/hub/hub-server';
import { type Scenario, scenarios } from './scenarios';

/** What happens to a process, and its share of the cases. */
const STRIKES = { kill: 0.5, power: 0.2, stop: 0.1, twice: 0.1, refuse: 0.1 };
type How = keyof typeof STRIKES;
const PHASES = ['before', 'half', 'after', 'later'] as const;
const ATTEMPTS = 4;

interface Strike {
  readonly at: number;
  readonly phase: (typeof PHASES)[number];
  readonly how: How;
  readonly seed: number;
  /** Milliseconds after the operation, for the phase `later`. */
  readonly delay: number;
}

interface Ended {
  readonly status: number | null;
  readonly signal: string | null;
  readonly output: string;
}

export interface KillOptions {
  /** How many processes are killed, stopped or cut from power. */
  readonly kills: number;
  readonly seed: number;
  /** Runs only this scenario. */
  readonly only?: string;
  /** Strikes only in this way. */
  readonly how?: How;
  readonly log?: (line: string) => void;
}

/**
 * Strikes `wpo` processes at random moments, resumes each command until it is finished, and compares the results bit for bit with
 * those of a command that ran in one go.
 *
 * @returns counts by what happened
 * @throws Error with the case, where a result differs or an error is not plain
 */
export async function killRuns({
  kills,
  seed,
  only,
  how,
  log = () => {},
}: KillOptions): Promise<Record<string, number>> {
  const random = seededRandom(seed);
  const home = mkdtempSync(join(tmpdir(), 'wpo-kill-'));
  const judge = await judgeServer();
  const pairs = readFileSync(fileURLToPath(new URL('../demo/data/eval.jsonl', import.meta.url)));
  const hub = await hubServer({
    'datasets/org/pairs': { files: { 'data/train.jsonl': pairs, 'data/test.jsonl': pairs } },
  });
  const counts: Record<string, number> = {};
  const count = (name: string) => {
    counts[name] = (counts[name] ?? 0) + 1;
  };
  try {
    const trained = join(home, 'train', 'root', 'run');
    const all = scenarios({ judge: judge.url, trained });
    const references = new Map<string, Reference>();
    for (const scenario of all.filter(
      ({ name }) => !only || name === only || (only === 'export' && name === 'train'),
    )) {
      references.set(scenario.name, await runWhole(scenario, join(home, scenario.name), hub.url));
      log(`${scenario.name}: ${references.get(scenario.name)!.operations} file operations`);
    }
    const chosen = all.filter(({ name }) => !only || name === only);
    for (let round = 0, done = 0; done < kills; round++) {
      const name = choose(Object.fromEntries(chosen.map(({ name, share }) => [name, share])), random);
      const scenario = chosen.find((other) => other.name === name)!;
      const reference = references.get(scenario.name)!;
      const folder = join(home, `round-${round}`);
      const options = { random, reference, hub: hub.url, left: kills - done, how };
      const struck = await strikeAndResume(scenario, folder, options);
      rmSync(folder, { recursive: true });
      done += struck.length;
      for (const how of struck) {
        count(scenario.name);
        count(how);
      }
      count('commands finished with the same result');
      if (round % 20 === 19) log(`${done} of ${kills}: ${JSON.stringify(counts)}`);
    }
    return counts;
  } finally {
    await judge.close();
    await hub.close();
    rmSync(home, { recursive: true, force: true });
  }
}

interface Reference {
  readonly operations: number;
  readonly results: ReturnType<Scenario['results']>;
}

async function runWhole(scenario: Scenario, folder: string, hub: string): Promise<Reference> {
  const root = newRoot(scenario, folder);
  const { status, output } = await start(scenario, folder, root, { hub }).ended;
  if (status !== 0) throw new Error(`${scenario.name}: expected exit status 0, found ${status}:\n${output}`);
  return { operations: Number(/\[(\d+) file operations\]/.exec(output)![1]), results: scenario.results(root) };
}

async function strikeAndResume(
  scenario: Scenario,
  folder: string,
  options: { random: () => number; reference: Reference; hub: string; left: number; how: How | undefined },
): Promise<How[]> {
  const { random, reference, hub, left } = options;
  const root = newRoot(scenario, folder);
  const history: Strike[] = [];
  const fail = (problem: string): never => {
    throw new Error(`${scenario.name}: ${problem}\nafter ${JSON.stringify(history)}`);
  };
  const compare = () => {
    const results = scenario.results(root);
    const names = [...reference.results.keys()];
    if (names.join() !== [...results.keys()].join()) fail(`expected the files ${names}, found ${[...results.keys()]}`);
    for (const [name, expected] of reference.results) {
      if (!Buffer.from(expected).equals(Buffer.from(results.get(name)!))) fail(`${name} differs`);
    }
  };
  const struck: How[] = [];
  let resume = false;
  for (let attempt = 0; attempt < ATTEMPTS && struck.length < left; attempt++) {
    const strike: Strike = {
      at: 1 + Math.floor(random() * reference.operations * (attempt === 0 ? 1 : 0.5)),
      phase: PHASES[Math.floor(random() * PHASES.length)]!,
      how: options.how ?? choose(STRIKES, random),
      seed: Math.floor(random() * 2 ** 31),
      delay: Math.floor(random() * 60),
    };
    history.push(strike);
    const first = start(scenario, folder, root, { hub, strike, resume });
    const second = strike.how === 'twice' ? start(scenario, folder, root, { hub, resume }) : undefined;
    const stopped = strike.how === 'stop' ? setInterval(() => first.child.kill('SIGCONT'), 200) : undefined;
    const ended = await first.ended;
    clearInterval(stopped);
    const other = await second?.ended;
    for (const { status, output } of [ended, ...(other ? [other] : [])]) {
      const isPlain = !/^\s+at .*:\d+:\d+/m.test(output);
      if (strike.how === 'refuse' && status === 1 && isPlain && output.includes('cannot be written: expected'))
        continue;
      const isRefused = strike.how === 'twice' && /another wpo process is writing|found one. Add --resume/.test(output);
      if (!isPlain || (status !== null && status !== 0 && !isRefused)) fail(`status ${status}:\n${output}`);
    }
    const isStruck =
      ended.signal === 'SIGKILL' || strike.how === 'stop' || (strike.how === 'refuse' && ended.status === 1);
    if (isStruck) struck.push(strike.how);
    if (scenario.whole !== undefined && existsSync(join(root, scenario.whole))) compare();
    resume = true;
    if (ended.status === 0 && strike.how !== 'stop') break;
  }
  const last = await start(scenario, folder, root, { hub, resume: true }).ended;
  if (last.status !== 0) fail(`the resumed command ended with status ${last.status}:\n${last.output}`);
  compare();
  return struck;
}

function newRoot(scenario: Scenario, folder: string): string {
  const root = join(folder, 'root');
  mkdirSync(root, { recursive: true });
  scenario.prepare(folder, root);
  return root;
}

const bin = fileURLToPath(new URL('../packages/cli/bin/wpo.mjs', import.meta.url));
const shim = new URL('./at-operation.mjs', import.meta.url).href;

function start(
  scenario: Scenario,
  folder: string,
  root: string,
  { hub, strike, resume }: { hub: string; strike?: Strike; resume?: boolean },
) {
  const args = [...scenario.args(folder, root), ...((resume && scenario.resume) || [])];
  const { HF_TOKEN, HF_HUB_CACHE, HF_HUB_OFFLINE, ...inherited } = process.env;
  const kill = strike && { ...strike, how: strike.how === 'twice' ? 'kill' : strike.how };
  const env = {
    ...inherited,
    HF_ENDPOINT: hub,
    HF_HOME: root,
    WPO_KILL_ROOT: root,
    WPO_KILL: JSON.stringify(kill ?? {}),
  };
  const child = spawn(process.execPath, ['--import', shim, bin, ...args], { env, cwd: folder });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      output += chunk;
    });
  }
  const ended = new Promise<Ended>((resolve) =>
    child.on('close', (status, signal) => resolve({ status, signal, output })),
  );
  return { child, ended };
}

/** Chooses among names with shares. */
function choose<T extends string>(shares: Readonly<Record<T, number>>, random: () => number): T {
  const names = Object.keys(shares) as T[];
  let left = random() * names.reduce((total, name) => total + shares[name], 0);
  for (const name of names) {
    left -= shares[name];
    if (left < 0) return name;
  }
  return names[0]!;
}

/** A judge that prefers by the texts alone, so that its answers do not depend on the time. */
async function judgeServer() {
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => {
      body += chunk;
    });
    request.on('end', () => {
      response.setHeader('content-type', 'application/json');
      if (request.method === 'GET') return response.end(JSON.stringify({ data: [{ id: 'judge' }] }));
      const { content } = JSON.parse(body).messages.at(-1);
      const sum = [...content].reduce((total: number, letter: string) => total + letter.codePointAt(0)!, 0);
      const text = `Rating: ${1 + (sum % 10)}\nVerdict: ${['A', 'B', 'equal'][sum % 3]}`;
      const choices = [{ index: 0, finish_reason: 'stop', message: { role: 'assistant', content: text } }];
      return response.end(JSON.stringify({ model: 'judge', choices }));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const close = () => new Promise<void>((resolve) => server.close(() => resolve()));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`, close };
}
