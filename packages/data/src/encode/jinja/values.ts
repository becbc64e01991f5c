import type { Budget } from './budget';

/**
 * A value in a template, with the meaning of Python's. Only these types exist while a template is rendered: no JavaScript
 * object, prototype or function can be reached from one.
 */
export type Value = string | number | boolean | null | Float | Undefined | Sequence | Dict | Attributes | Callable;

/** Python's float; a `number` is an int. */
export class Float {
  constructor(readonly value: number) {}
}

/** The value of a name, attribute or item that does not exist. `reason` is jinja2's error text if it is used. */
export class Undefined {
  constructor(readonly reason: string) {}
}

export type SequenceType = 'list' | 'tuple' | 'range' | 'generator' | 'dict_keys' | 'dict_values' | 'dict_items';

export class Sequence {
  private consumed = false;

  constructor(
    private readonly values: readonly Value[],
    readonly type: SequenceType = 'list',
  ) {}

  /** The values. Those of a generator can be read once, as in Python. */
  get items(): readonly Value[] {
    if (this.type !== 'generator') return this.values;
    const items = this.consumed ? [] : this.values;
    this.consumed = true;
    return items;
  }
}

export type Key = string | number;

export class Dict {
  constructor(readonly entries: ReadonlyMap<Key, Value>) {}
}

/** A `namespace()`, or the `loop` variable. */
export class Attributes {
  constructor(
    readonly type: 'Namespace' | 'LoopContext',
    readonly entries: Map<string, Value>,
  ) {}
}

export class Callable {
  constructor(
    readonly type: 'Macro' | 'function' | 'builtin_function_or_method',
    readonly call: (args: Arguments) => Value,
  ) {}
}

export interface Arguments {
  readonly positional: readonly Value[];
  readonly keywords: ReadonlyMap<string, Value>;
}

/** An error that the template makes, as jinja2 or Python would raise. */
export class TemplateError extends Error {
  override readonly name = 'TemplateError';
}

export function fail(message: string): never {
  throw new TemplateError(message);
}

export function typeName(value: Value): string {
  if (typeof value === 'string') return 'str';
  if (typeof value === 'number') return 'int';
  if (typeof value === 'boolean') return 'bool';
  if (value === null) return 'NoneType';
  if (value instanceof Float) return 'float';
  if (value instanceof Undefined) return 'Undefined';
  if (value instanceof Dict) return 'dict';
  return value.type;
}

export function isTrue(value: Value): boolean {
  if (typeof value !== 'object') return Boolean(value);
  if (value === null || value instanceof Undefined) return false;
  if (value instanceof Float) return value.value !== 0;
  if (value instanceof Sequence) return value.type === 'generator' || value.items.length > 0;
  if (value instanceof Dict) return value.entries.size > 0;
  return true;
}

/** The number that a value is in arithmetic; undefined if it is none. Python's booleans are 0 and 1. */
export function numberOf(value: Value): number | undefined {
  if (typeof value === 'number') return value;
  if (typeof value === 'boolean') return Number(value);
  return value instanceof Float ? value.value : undefined;
}

/** A whole number, e.g. an index or a count. */
export function integer(value: Value, name: string): number {
  if (typeof value === 'number') return value;
  if (typeof value === 'boolean') return Number(value);
  if (value instanceof Undefined) fail(value.reason);
  return fail(`${name}: expected an integer, found a value of type '${typeName(value)}'`);
}

/** An int. Python's have no limit; beyond 2^53 ours would be rounded. */
export function int(value: number): number {
  if (Number.isSafeInteger(value)) return value === 0 ? 0 : value;
  return fail(`integers are supported up to 2^53, found ${value}`);
}

/** Characters as Python counts them: code points. */
export function characters(text: string, budget: Budget): string[] {
  budget.values(text.length);
  return Array.from(text);
}

export function lengthOf(value: Value, budget: Budget): number {
  if (typeof value === 'string') {
    budget.characters(value.length);
    return value.length - (value.match(/[\ud800-\udbff][\udc00-\udfff]/g)?.length ?? 0);
  }
  if (value instanceof Undefined) return 0;
  if (value instanceof Sequence && value.type !== 'generator') return value.items.length;
  if (value instanceof Dict) return value.entries.size;
  return fail(`object of type '${typeName(value)}' has no len()`);
}

/** The values that `for` or `in` goes through. */
export function iterate(value: Value, budget: Budget): readonly Value[] {
  if (typeof value === 'string') return characters(value, budget);
  if (value instanceof Undefined) return [];
  if (value instanceof Sequence) {
    const { items } = value;
    budget.values(items.length);
    return items;
  }
  if (value instanceof Dict) {
    budget.values(value.entries.size);
    return [...value.entries.keys()];
  }
  return fail(`expected a list, a mapping or text to go through, found a value of type '${typeName(value)}'`);
}

export function isEqual(a: Value, b: Value, budget: Budget): boolean {
  budget.step();
  if (a === b) return true;
  if (typeof a === 'string' || typeof b === 'string') {
    if (typeof a !== typeof b || (a as string).length !== (b as string).length) return false;
    budget.characters((a as string).length);
    return a === b;
  }
  const x = numberOf(a);
  const y = numberOf(b);
  if (x !== undefined || y !== undefined) return x === y;
  if (a instanceof Undefined) return b instanceof Undefined;
  if (a instanceof Sequence && b instanceof Sequence && a.type === b.type) {
    if (a.type === 'generator' || a.type === 'dict_values') return false;
    const [left, right] = [a.items, b.items];
    return (
      left.length === right.length && budget.nested(() => left.every((item, i) => isEqual(item, right[i]!, budget)))
    );
  }
  if (a instanceof Dict && b instanceof Dict) {
    const has = ([key, value]: [Key, Value]) => {
      const other = b.entries.get(key);
      return other !== undefined && isEqual(value, other, budget);
    };
    return a.entries.size === b.entries.size && budget.nested(() => [...a.entries].every(has));
  }
  return false;
}

/** Negative if a < b, positive if a > b. @throws {TemplateError} if Python cannot order the two */
export function compare(a: Value, b: Value, budget: Budget, operator = '<'): number {
  budget.step();
  for (const value of [a, b]) if (value instanceof Undefined) fail(value.reason);
  const x = numberOf(a);
  const y = numberOf(b);
  if (x !== undefined && y !== undefined) return x === y ? 0 : x < y ? -1 : x > y ? 1 : Number.NaN;
  if (typeof a === 'string' && typeof b === 'string') return compareTexts(a, b, budget);
  if (a instanceof Sequence && b instanceof Sequence && a.type === b.type && ['list', 'tuple'].includes(a.type)) {
    const differing = a.items.findIndex((item, i) => i >= b.items.length || !isEqual(item, b.items[i]!, budget));
    if (differing === -1 || differing >= b.items.length) return a.items.length - b.items.length;
    return budget.nested(() => compare(a.items[differing]!, b.items[differing]!, budget, operator));
  }
  return fail(`'${operator}' not supported between instances of '${typeName(a)}' and '${typeName(b)}'`);
}

/** Python orders texts by code point, JavaScript by UTF-16 unit. */
function compareTexts(a: string, b: string, budget: Budget): number {
  if (a === b) return 0;
  const length = Math.min(a.length, b.length);
  budget.characters(length);
  let i = 0;
  while (i < length && a.charCodeAt(i) === b.charCodeAt(i)) i += 1;
  if (i === length) return a.length - b.length;
  // a low surrogate that differs belongs to the character before it
  if ((a.charCodeAt(i) & 0xfc00) === 0xdc00 && (b.charCodeAt(i) & 0xfc00) === 0xdc00) i = Math.max(0, i - 1);
  return a.codePointAt(i)! - b.codePointAt(i)!;
}

/** Python's `str(value)`. */
export function text(value: Value, budget: Budget): string {
  if (typeof value === 'string') return value;
  return value instanceof Undefined ? '' : repr(value, budget);
}

/** Python's `repr(value)`. */
export function repr(value: Value, budget: Budget): string {
  budget.step();
  if (typeof value === 'string') return reprText(value, budget);
  if (typeof value === 'number') return String(value);
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (value === null) return 'None';
  if (value instanceof Float) return reprFloat(value.value);
  if (value instanceof Undefined) return 'Undefined';
  return budget.nested(() => {
    const join = (values: readonly Value[]) =>
      joinTexts(
        values.map((item) => repr(item, budget)),
        ', ',
        budget,
      );
    const pairs = (entries: Iterable<[Key, Value]>) =>
      joinTexts(
        Array.from(entries, ([key, item]) => `${repr(key, budget)}: ${repr(item, budget)}`),
        ', ',
        budget,
      );
    if (value instanceof Dict) return `{${pairs(value.entries)}}`;
    if (value instanceof Attributes && value.type === 'Namespace') return `<Namespace {${pairs(value.entries)}}>`;
    if (value instanceof Sequence) {
      if (value.type === 'list') return `[${join(value.items)}]`;
      if (value.type === 'tuple') return `(${join(value.items)}${value.items.length === 1 ? ',' : ''})`;
      if (value.type.startsWith('dict_')) return `${value.type}([${join(value.items)}])`;
    }
    return fail(`expected a value to print, found a ${typeName(value)} object`);
  });
}

/** `texts` joined; spends on the result before it is made. */
export function joinTexts(texts: readonly string[], separator: string, budget: Budget): string {
  let length = separator.length * Math.max(0, texts.length - 1);
  for (const part of texts) length += part.length;
  budget.characters(length);
  return texts.join(separator);
}

const ESCAPES: ReadonlyMap<string, string> = new Map([
  ['\\', '\\\\'],
  ['\n', '\\n'],
  ['\r', '\\r'],
  ['\t', '\\t'],
]);

function reprText(value: string, budget: Budget): string {
  budget.characters(10 * value.length);
  const quote = value.includes("'") && !value.includes('"') ? '"' : "'";
  const escapeCharacter = (char: string) => {
    const known = ESCAPES.get(char);
    if (known !== undefined) return known;
    const hex = char.codePointAt(0)!.toString(16);
    return hex.length <= 2
      ? `\\x${hex.padStart(2, '0')}`
      : hex.length <= 4
        ? `\\u${hex.padStart(4, '0')}`
        : `\\U${hex.padStart(8, '0')}`;
  };
  const escaped = value.replace(/[\\\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu, escapeCharacter);
  return quote + (quote === "'" ? escaped.replaceAll("'", "\\'") : escaped) + quote;
}

/** Python's `repr` of a float. */
export function reprFloat(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf';
  if (Object.is(value, -0)) return '-0.0';
  const [digits, power] = value.toExponential().split('e') as [string, string];
  const exponent = Number(power);
  if (value !== 0 && (exponent < -4 || exponent >= 16)) {
    return `${digits}e${exponent < 0 ? '-' : '+'}${String(Math.abs(exponent)).padStart(2, '0')}`;
  }
  return Number.isInteger(value) ? `${value}.0` : String(value);
}
