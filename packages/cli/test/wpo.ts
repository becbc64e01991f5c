import { spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { main } from '../src/main';
import type { Terminal } from '../src/terminal/terminal';

// Helpers that run `wpo`, in this process or as a child process, and read and write files of JSON lines.

/** A terminal that keeps what is written to it. */
export function capture(): Terminal & { out(): string; err(): string } {
  const [stdout, stderr] = [sink(), sink()];
  return { stdout: stdout.stream, stderr: stderr.stream, out: stdout.text, err: stderr.text };
}

function sink() {
  let text = '';
  const stream = new Writable({
    write(chunk, _encoding, done) {
      text += String(chunk);
      done();
    },
  });
  return { stream, text: () => text };
}

/** Runs `wpo` in this process. */
export async function wpo(...args: string[]) {
  const terminal = capture();
  const status = await main(args, terminal);
  return { status, out: terminal.out(), err: terminal.err() };
}

export const writeRows = (path: string, rows: readonly unknown[]) =>
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));

export const readRows = <T>(path: string): T[] =>
  readFileSync(path, 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as T);

/** One of something, with its noun in the plural. */
export const WRONG_PLURAL =
  /(?<![\d.,])1 (rows|pairs|files|answers|prompts|keys|tokens|scores|outputs|instructions|requests|verdicts|steps|others)\b/;

/** The program that starts the built `wpo`. */
export const bin = fileURLToPath(new URL('../bin/wpo.mjs', import.meta.url));

/** The built `wpo`, running as a child process. */
export interface Child {
  /** Resolves once the process has written this to stderr. */
  wrote(text: string): Promise<void>;
  kill(signal: NodeJS.Signals): void;
  readonly ended: Promise<{ readonly status: number | null; readonly signal: string | null; out: string; err: string }>;
}

export function startWpo(args: readonly string[], environment: Readonly<Record<string, string>> = {}): Child {
  if (!existsSync(new URL('../dist/process.js', import.meta.url))) {
    throw new Error(
      'packages/cli/dist/process.js: expected the built command, which this test runs, found no file. Run `npm run setup`.',
    );
  }
  const child = spawn(process.execPath, [bin, ...args], { env: { ...process.env, ...environment } });
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk) => {
    out += chunk;
  });
  child.stderr.on('data', (chunk) => {
    err += chunk;
  });
  const ended = new Promise<Awaited<Child['ended']>>((resolve) => {
    child.on('close', (status, signal) => resolve({ status, signal, out, err }));
  });
  return {
    ended,
    kill: (signal) => void child.kill(signal),
    wrote: (text) =>
      new Promise((resolve, reject) => {
        const look = () => err.includes(text) && resolve();
        child.stderr.on('data', look);
        ended.then(() => reject(new Error(`wpo ended without writing "${text}":\n${out}${err}`)));
        look();
      }),
  };
}
