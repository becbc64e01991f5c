import { randomBelow, xoshiro128, xoshiroState } from '@wpo/internal/random';

/**
 * The order in which an epoch takes rows 0 to `count - 1`: a permutation that depends on the arguments only, and is the
 * same on every platform. It is a Fisher-Yates shuffle from the last position down, with random numbers from xoshiro128**
 * seeded with (seed mod 2^32, floor(seed / 2^32), epoch).
 *
 * @param count from 0 to 2^32 - 1
 * @param seed an integer from 0 to 2^53 - 1
 * @param epoch from 0 to 2^32 - 1
 * @param shuffle false returns 0, 1, 2, …
 * @throws {RangeError} if an argument is out of range
 */
export function epochOrder(count: number, seed: number, epoch: number, shuffle = true): Uint32Array {
  checkInteger('count', count, 2 ** 32 - 1);
  checkInteger('seed', seed, Number.MAX_SAFE_INTEGER);
  checkInteger('epoch', epoch, 2 ** 32 - 1);
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  if (!shuffle) return order;
  const next = xoshiro128(xoshiroState([seed >>> 0, Math.floor(seed / 2 ** 32), epoch]));
  for (let last = count - 1; last > 0; last--) {
    const pick = randomBelow(last + 1, next);
    const swapped = order[last]!;
    order[last] = order[pick]!;
    order[pick] = swapped;
  }
  return order;
}

function checkInteger(name: string, value: number, max: number): void {
  if (Number.isSafeInteger(value) && value >= 0 && value <= max) return;
  throw new RangeError(`${name}: expected an integer from 0 to ${max}, found ${value}.`);
}
