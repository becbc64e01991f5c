import { readFileSync, writeFileSync } from 'node:fs';
import { main } from '../src/main';
import { capture } from './capture';

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
