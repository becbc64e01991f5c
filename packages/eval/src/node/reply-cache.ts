import { sealRow, unsealRow } from '@wpo/internal/node/sealed';
import { EvaluationError } from '../errors';
import { openRowsFile, readRowsFile } from './rows-file';

const PURPOSE = 'reply cache';

/** Replies in a file, by key. Each question is asked once, in this run or an earlier one. */
export interface ReplyCache<T> {
  get(key: string): T | undefined;
  /** Returns the cached value, or calls `ask` and caches its result. Concurrent calls with one key call `ask` once. */
  getOrAsk(key: string, ask: () => Promise<T>): Promise<T>;
  set(key: string, value: T): Promise<void>;
  close(): Promise<void>;
}

/**
 * Opens a cache, a JSONL file of `{key, value, checksum}` that is only appended to, or creates it. A last line that a killed
 * process left incomplete is dropped.
 *
 * @throws {EvaluationError} naming file and line, for a row that was changed or does not belong to such a cache; and if the file cannot be
 *   written or another process has it open
 */
export async function openReplyCache<T>(path: string, isValue: (value: unknown) => value is T): Promise<ReplyCache<T>> {
  const file = await openRowsFile(path);
  const values = new Map<string, T>();
  try {
    for await (const { row, at } of readRowsFile(path)) {
      const { key, value } = unsealRow(PURPOSE, row) ?? {};
      if (typeof key !== 'string' || !isValue(value)) {
        throw new EvaluationError(
          `${at}: expected a cached reply with its checksum, found another or a changed row. Remove this line: its reply is then ` +
            'asked for again.',
        );
      }
      values.set(key, value);
    }
  } catch (error) {
    await file.close();
    throw error;
  }
  const pending = new Map<string, Promise<T>>();
  const set = async (key: string, value: T) => {
    values.set(key, value);
    await file.append(sealRow(PURPOSE, { key, value }));
  };
  const askAndKeep = async (key: string, ask: () => Promise<T>) => {
    try {
      const value = await ask();
      await set(key, value);
      return value;
    } finally {
      pending.delete(key);
    }
  };
  return {
    get: (key) => values.get(key),
    async getOrAsk(key, ask) {
      const cached = values.get(key);
      if (cached !== undefined) return cached;
      const reply = pending.get(key) ?? askAndKeep(key, ask);
      pending.set(key, reply);
      return reply;
    },
    set,
    close: () => file.close(),
  };
}
