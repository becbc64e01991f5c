import { finalise, rotate } from './random';

/**
 * A whole number below 2^53 that tells texts apart: two 32-bit hashes over the text's UTF-16 units, FNV-1a
 * (http://www.isthe.com/chongo/tech/comp/fnv) and a rotating one, each finished as MurmurHash3 is. Among 61,000 texts
 * the chance that two have one fingerprint is 2 in ten million. The same on every platform.
 */
export function fingerprint(text: string): number {
  let low = 0x811c9dc5;
  let high = 0x9e3779b9;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    low = Math.imul(low ^ unit, 0x01000193);
    high = Math.imul(rotate(high, 13) ^ unit, 0x85ebca6b);
  }
  return (finalise(high) & 0x1fffff) * 2 ** 32 + finalise(low);
}
