import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { deviceBytes } from './device-memory';

/** A process that waits for a line on stdin, does one turn, and answers with a line that starts with `@`. */
export interface Side {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** What every answer says. */
export interface Answer {
  /** The most memory that the process has held so far, in bytes; null where the system does not say. */
  readonly peakBytes: number | null;
}

/** A side that is ready for its turns. */
export interface Worker {
  readonly name: string;
  readonly pid: number;
  /** From the start of the process until it was ready. */
  readonly startSeconds: number;
  ask<T>(request: object): Promise<T & Answer>;
  /** Ends the process, and waits until it has ended. */
  close(): Promise<void>;
}

/** Threads that spin for a while after their work must be asleep before the other side's turn. */
const REST = 300; // ms

/**
 * Starts a side and waits until it is ready.
 *
 * @throws Error with the end of what the process wrote to stderr, where it ends unasked
 */
export async function open(side: Side): Promise<Worker> {
  const started = performance.now();
  const child = spawn(side.command, side.args, { env: { ...process.env, ...side.env }, stdio: 'pipe' });
  const answers = answersOf(child, side.name);
  await answers.next();
  const startSeconds = (performance.now() - started) / 1000;
  return {
    name: side.name,
    pid: child.pid!,
    startSeconds,
    async ask<T>(request: object) {
      child.stdin.write(`${JSON.stringify(request)}\n`);
      return (await answers.next()) as T & Answer;
    },
    async close() {
      const ended = child.exitCode === null ? new Promise((done) => child.once('close', done)) : undefined;
      child.stdin.end();
      const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
      await ended;
      clearTimeout(timer);
    },
  };
}

function answersOf(child: ChildProcess, name: string) {
  const lines: string[] = [];
  let errors = '';
  let failure: Error | undefined;
  let wake = () => {};
  const fail = (why: string) => {
    const tail = errors.trim().split('\n').slice(-15).join('\n');
    failure ??= new Error(`${name}: ${why}${tail ? `\n${tail}` : ''}`);
    wake();
  };
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(-20_000);
  });
  createInterface({ input: child.stdout! }).on('line', (line) => {
    if (!line.startsWith('@')) return;
    lines.push(line.slice(1));
    wake();
  });
  child.stdin!.on('error', () => {}); // `close` says more
  child.on('error', (error) => fail(error.message));
  child.on('close', (code, signal) => fail(`ended with ${signal ?? `status ${code}`}`));
  return {
    async next(): Promise<unknown> {
      while (lines.length === 0) {
        if (failure) throw failure;
        await new Promise<void>((done) => {
          wake = done;
        });
      }
      return JSON.parse(lines.shift()!);
    },
  };
}

/** One turn: what was asked, and what the side answered. */
export interface Turn<T> {
  readonly side: string;
  /** 0 warms up. */
  readonly round: number;
  readonly item: number;
  readonly answer: T & Answer;
}

/** All turns, and what else is known of each side, by its name. */
export interface Turns<T> {
  readonly turns: Turn<T>[];
  readonly startSeconds: Readonly<Record<string, number>>;
  /** GPU memory at the end; null where there is none. Both libraries keep what they once took, so it is the most they took. */
  readonly deviceBytes: Readonly<Record<string, number | null>>;
}

/** Gives every side each item in turns, round by round. All sides are open at the same time, and closed at the end. */
export async function inTurns<T>(
  sides: readonly Side[],
  options: {
    readonly items: number;
    /** Rounds that count; round 0 goes before them. */
    readonly rounds: number;
    readonly request: (item: number, round: number) => object;
    readonly say: (line: string) => void;
  },
): Promise<Turns<T>> {
  const { items, rounds, request, say } = options;
  const workers: Worker[] = [];
  const turns: Turn<T>[] = [];
  try {
    for (const side of sides) {
      say(`starting ${side.name}`);
      workers.push(await open(side));
    }
    for (let round = 0; round <= rounds; round++) {
      for (let item = 0; item < items; item++) {
        say(`${round === 0 ? 'warming up' : `round ${round} of ${rounds}`}: ${item + 1} of ${items}`);
        for (const worker of workers) {
          if (workers.length > 1) await sleep(REST);
          const answer = await worker.ask<T>(request(item, round));
          turns.push({ side: worker.name, round, item, answer });
        }
      }
    }
    const bytes = deviceBytes();
    const bySide = <V>(value: (worker: Worker) => V) =>
      Object.fromEntries(workers.map((one) => [one.name, value(one)]));
    return {
      turns,
      startSeconds: bySide(({ startSeconds }) => startSeconds),
      deviceBytes: bySide(({ pid }) => bytes.get(pid) ?? null),
    };
  } finally {
    await Promise.all(workers.map((worker) => worker.close()));
  }
}
