import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const bin = fileURLToPath(new URL('../bin/wpo.mjs', import.meta.url));

/** `wpo` as a process of its own, as it was built. */
export interface Child {
  /** Resolves once the process has written this to stderr. */
  wrote(text: string): Promise<void>;
  kill(signal: NodeJS.Signals): void;
  readonly ended: Promise<{ readonly status: number | null; readonly signal: string | null; out: string; err: string }>;
}

export function startWpo(args: readonly string[]): Child {
  if (!existsSync(new URL('../dist/main.js', import.meta.url))) {
    throw new Error('packages/cli is not built, and this test runs the built command: npm run setup');
  }
  const child = spawn(process.execPath, [bin, ...args]);
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
