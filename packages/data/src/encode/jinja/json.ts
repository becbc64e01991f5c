import type { Budget } from './budget';
import { Dict, Float, fail, isTrue, joinTexts, Sequence, text, typeName, type Value } from './values';

interface Format {
  readonly ascii: boolean;
  readonly sortKeys: boolean;
  readonly indent: string | undefined;
  readonly separators: readonly [string, string];
}

/** The filter `tojson` of transformers: Python's `json.dumps`, with `ensure_ascii=False` by default. */
export function toJson(value: Value, args: (Value | undefined)[], budget: Budget): string {
  const [ascii = false, indent = null, separators = null, sortKeys = false] = args;
  if (typeof indent === 'number') budget.characters(Math.max(0, indent));
  const format = {
    ascii: isTrue(ascii),
    sortKeys: isTrue(sortKeys),
    indent:
      typeof indent === 'number' ? ' '.repeat(Math.max(0, indent)) : typeof indent === 'string' ? indent : undefined,
    separators: pairOf(separators) ?? ([indent === null ? ', ' : ',', ': '] as const),
  };
  return write(value, format, 0, budget);
}

function pairOf(value: Value): readonly [string, string] | undefined {
  if (!(value instanceof Sequence)) return undefined;
  const [item, key] = value.items;
  return typeof item === 'string' && typeof key === 'string' ? [item, key] : fail('separators: expected two texts');
}

function write(value: Value, format: Format, depth: number, budget: Budget): string {
  budget.step();
  if (value === null) return 'null';
  if (typeof value === 'string') return quote(value, format, budget);
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  if (value instanceof Float) {
    if (Number.isFinite(value.value)) return text(value, budget);
    return Number.isNaN(value.value) ? 'NaN' : value.value > 0 ? 'Infinity' : '-Infinity';
  }
  const [itemSeparator, keySeparator] = format.separators;
  const wrap = (open: string, parts: string[], close: string) => {
    if (format.indent === undefined || parts.length === 0)
      return open + joinTexts(parts, itemSeparator, budget) + close;
    budget.characters(format.indent.length * (depth + 1));
    const line = `\n${format.indent.repeat(depth + 1)}`;
    return `${open}${line}${joinTexts(parts, itemSeparator + line, budget)}\n${format.indent.repeat(depth)}${close}`;
  };
  return budget.nested(() => {
    if (value instanceof Sequence && (value.type === 'list' || value.type === 'tuple')) {
      return wrap(
        '[',
        value.items.map((item) => write(item, format, depth + 1, budget)),
        ']',
      );
    }
    if (!(value instanceof Dict)) return fail(`Object of type ${typeName(value)} is not JSON serializable`);
    const entries = [...value.entries];
    if (format.sortKeys) entries.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    const parts = entries.map(
      ([key, item]) => quote(String(key), format, budget) + keySeparator + write(item, format, depth + 1, budget),
    );
    return wrap('{', parts, '}');
  });
}

function quote(value: string, { ascii }: Format, budget: Budget): string {
  budget.characters(6 * value.length);
  const quoted = JSON.stringify(value);
  if (!ascii) return quoted;
  return quoted.replace(/[\x7f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
