import * as v from 'valibot';
import { UserError } from '../errors';
import { openRowsFile, readRowsFile } from '../rows-file';

/** What was asked before, in a file: each question is asked once, in this run or an earlier one. */
export interface Memo<T> {
  get(key: string): T | undefined;
  /** The value of a key: the one that is there, or what `ask` gives, which is kept. Asked twice at once, asks once. */
  once(key: string, ask: () => Promise<T>): Promise<T>;
  set(key: string, value: T): Promise<void>;
  close(): Promise<void>;
}

/**
 * Opens a memo, a JSONL file of `{key, value}` that is only added to; makes it where there is none. A line that was cut
 * off by a kill is dropped, and asked for again.
 *
 * @throws {UserError} naming file and line, where a row is none of a memo
 */
export async function openMemo<T>(path: string, value: v.GenericSchema<T>): Promise<Memo<T>> {
  const row = v.object({ key: v.string(), value });
  const file = await openRowsFile(path);
  const kept = new Map<string, T>();
  try {
    for await (const found of readRowsFile(path, 'answers that were kept')) {
      if (!v.is(row, found.row))
        throw new UserError(`${found.at}: found no answer that was kept here. Remove the file.`);
      kept.set(found.row.key, found.row.value as T);
    }
  } catch (error) {
    await file.close();
    throw error;
  }
  const asking = new Map<string, Promise<T>>();
  const set = async (key: string, answer: T) => {
    kept.set(key, answer);
    await file.append({ key, value: answer });
  };
  const askAndKeep = async (key: string, ask: () => Promise<T>) => {
    try {
      const answer = await ask();
      await set(key, answer);
      return answer;
    } finally {
      asking.delete(key);
    }
  };
  return {
    get: (key) => kept.get(key),
    async once(key, ask) {
      const there = kept.get(key);
      if (there !== undefined) return there;
      const running = asking.get(key) ?? askAndKeep(key, ask);
      asking.set(key, running);
      return running;
    },
    set,
    close: () => file.close(),
  };
}
