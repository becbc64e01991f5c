import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { textLines } from '@wpo/internal/lines';
import { deviceBytes, watchAnonymous } from './memory';

/** A process that does one turn for each line of JSON on stdin, and answers with a line of JSON that starts with `@`. */
export interface Side {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** This library, in a Node process that runs the bundled worker. */
export const ours = (kind: string, options: object, name = 'ours'): Side => ({
  name,
  command: process.execPath,
  args: [fileURLToPath(new URL('./worker.mjs', import.meta.url)), kind, JSON.stringify(options)],
});

/** TRL or transformers, in a Python that has them. */
export interface Peer {
  readonly python: string;
  readonly script: string;
}

/**
 * Makes glibc keep freed memory instead of returning it: on machines where fresh memory is slow, PyTorch's steps take half the
 * time with it.
 */
const KEEP_FREED_MEMORY = { MALLOC_MMAP_THRESHOLD_: '8589934592', MALLOC_TRIM_THRESHOLD_: '68719476736' };

export const TUNED = 'TRL, tuned';
export const DEFAULT = 'TRL, default';

export const peerSide = ({ python, script }: Peer, kind: string, options: object, name = TUNED): Side => ({
  name,
  command: python,
  args: [script, kind, JSON.stringify(options)],
  ...(name === DEFAULT ? {} : { env: KEEP_FREED_MEMORY }),
});

/** The fields of every answer. */
export interface Answer {
  /** The process's peak resident memory so far, in bytes; null where the system does not report it. */
  readonly peakBytes: number | null;
}

/** A started side. */
export interface Worker {
  readonly name: string;
  readonly pid: number;
  /** Seconds from the start of the process until it was ready for its first turn. */
  readonly startSeconds: number;
  /** The peak so far of its memory without the pages of mapped files, sampled every 50 ms; null where it is not reported. */
  anonymousBytes(): number | null;
  ask<T>(request: object): Promise<T & Answer>;
  /** Ends the process and waits for its end. */
  close(): Promise<void>;
}

/** Pause before each turn, in milliseconds: threads that spin after their work must be asleep before the other side's turn. */
const PAUSE = 300;

/**
 * Starts a side and waits until it is ready.
 *
 * @throws Error with the end of the process's stderr, where it exits before it is ready
 */
export async function open(side: Side): Promise<Worker> {
  const started = performance.now();
  const child = spawn(side.command, side.args, { env: { ...process.env, ...side.env }, stdio: 'pipe' });
  const answers = readAnswers(child, side.name);
  const watch = watchAnonymous(child.pid!);
  await answers.next().catch((error: Error) => {
    watch.stop();
    throw error;
  });
  const startSeconds = (performance.now() - started) / 1000;
  return {
    name: side.name,
    pid: child.pid!,
    startSeconds,
    anonymousBytes: watch.peak,
    async ask<T>(request: object) {
      child.stdin.write(`${JSON.stringify(request)}\n`);
      return (await answers.next()) as T & Answer;
    },
    async close() {
      watch.stop();
      const ended = child.exitCode === null ? new Promise((done) => child.once('close', done)) : undefined;
      child.stdin.end();
      const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
      await ended;
      clearTimeout(timer);
    },
  };
}

function readAnswers(child: ChildProcess, name: string) {
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
  const read = async () => {
    for await (const line of textLines(child.stdout!)) {
      if (!line.startsWith('@')) continue;
      lines.push(line.slice(1));
      wake();
    }
  };
  read().catch((error: Error) => fail(error.message));
  child.stdin!.on('error', () => {}); // `close` reports the failure
  child.on('error', (error) => fail(error.message));
  child.on('close', (code, signal) => fail(`exited with ${signal ?? `status ${code}`}`));
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

/** One turn of one side. */
export interface Turn<T> {
  readonly side: string;
  /** 0 is the warm-up. */
  readonly round: number;
  readonly item: number;
  readonly answer: T & Answer;
}

/** All turns, and facts about each side by its name. */
export interface Turns<T> {
  readonly turns: Turn<T>[];
  readonly startSeconds: Readonly<Record<string, number>>;
  /** See `Worker.anonymousBytes`. */
  readonly anonymousBytes: Readonly<Record<string, number | null>>;
  /** GPU memory at the end; null without a GPU. Both libraries keep what they have allocated, so this is the peak. */
  readonly deviceBytes: Readonly<Record<string, number | null>>;
}

/** Gives every side each item in turns, round by round. All sides run at the same time, idle between their turns. */
export async function inTurns<T>(
  sides: readonly Side[],
  options: {
    readonly items: number;
    /** Measured rounds; the warm-up, round 0, comes before them. */
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
          if (workers.length > 1) await sleep(PAUSE);
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
      anonymousBytes: bySide((worker) => worker.anonymousBytes()),
      deviceBytes: bySide(({ pid }) => bytes.get(pid) ?? null),
    };
  } finally {
    await Promise.all(workers.map((worker) => worker.close()));
  }
}
