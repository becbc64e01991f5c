import type { Place } from '@wpo/data';
import { readAlpacaFrom } from '../alpaca-eval';
import { bytesOf } from './read-rows';

/**
 * Reads a file in alpaca_eval's layout: see `readAlpacaFrom`.
 *
 * @throws {RowError} for the first row that cannot be used, and for a file without rows
 * @throws {EvaluationError} if the file cannot be read
 */
export const readAlpaca = <T>(path: string, parse: (row: unknown, at: Place) => T): Promise<T[]> =>
  readAlpacaFrom(bytesOf(path, 'a JSON or JSONL file in alpaca_eval’s layout'), path, parse);
