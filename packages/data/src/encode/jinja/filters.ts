import { strip } from '../../rows/python-strip';
import { bind } from './arguments';
import type { Budget } from './budget';
import { toJson } from './json';
import { capitalize, pairs, replace, splitLines } from './methods';
import { binary, item } from './operators';
import {
  type Arguments,
  Callable,
  compare,
  Dict,
  Float,
  fail,
  int,
  integer,
  isTrue,
  iterate,
  joinTexts,
  lengthOf,
  numberOf,
  Sequence,
  text,
  typeName,
  Undefined,
  type Value,
} from './values';

type Filter = (value: Value, args: (Value | undefined)[], budget: Budget) => Value;

/** A filter of jinja2, its parameters' names, and what it does. */
const filter = (parameters: readonly string[], apply: Filter) => ({ parameters, apply });

const flag = (value: Value | undefined) => value !== undefined && isTrue(value);

/** The text of a value, of which `times` as much will be read or made. */
const textOf = (value: Value, budget: Budget, times = 1) => {
  const result = text(value, budget);
  budget.characters(times * result.length);
  return result;
};

/** Reads `path` of an item, e.g. `name` or `function.name` or 0. */
function getter(path: Value | undefined, budget: Budget): (value: Value) => Value {
  if (path === undefined || path === null) return (value) => value;
  const parts =
    typeof path === 'string' ? path.split('.').map((part) => (/^\d+$/.test(part) ? Number(part) : part)) : [path];
  return (value) => parts.reduce<Value>((from, part) => item(from, part, budget), value);
}

/** jinja2 compares texts without regard to case, unless told otherwise. */
const foldCase = (value: Value, caseSensitive: boolean, budget: Budget) =>
  typeof value === 'string' && !caseSensitive ? textOf(value, budget).toLowerCase() : value;

function sort(values: readonly Value[], keyOf: (value: Value) => Value, reverse: boolean, budget: Budget): Value[] {
  const keyed = values.map((value) => ({ value, key: keyOf(value) }));
  const sign = reverse ? -1 : 1;
  return keyed.sort((a, b) => sign * compare(a.key, b.key, budget)).map(({ value }) => value);
}

function unique(value: Value, caseSensitive: boolean, keyOf: (value: Value) => Value, budget: Budget): Value {
  const kept: Value[] = [];
  const keys: Value[] = [];
  const seen = new Set<Value>();
  for (const entry of iterate(value, budget)) {
    const key = foldCase(keyOf(entry), caseSensitive, budget);
    if (key instanceof Dict || (key instanceof Sequence && key.type === 'list'))
      fail(`unhashable type: '${typeName(key)}'`);
    if (seen.has(key) || keys.some((other) => binary('==', other, key, budget))) continue;
    if (typeof key === 'string') seen.add(key);
    else keys.push(key);
    kept.push(entry);
  }
  return new Sequence(kept, 'generator');
}

function toInt(value: Value, fallback: Value): Value {
  if (value instanceof Undefined) fail(value.reason);
  if (typeof value === 'string' && /^[+-]?\d+(_\d+)*$/.test(strip(value)))
    return int(Number(strip(value).replaceAll('_', '')));
  const number = toFloat(value, fallback);
  if (!(number instanceof Float) || !Number.isFinite(number.value)) return fallback;
  return int(Math.trunc(number.value));
}

function toFloat(value: Value, fallback: Value): Value {
  if (value instanceof Undefined) fail(value.reason);
  const number = numberOf(value);
  if (number !== undefined) return new Float(number);
  if (typeof value !== 'string') return fallback;
  const trimmed = strip(value);
  if (/^[+-]?(inf|infinity)$/i.test(trimmed)) return new Float(trimmed.startsWith('-') ? -Infinity : Infinity);
  if (/^[+-]?nan$/i.test(trimmed)) return new Float(Number.NaN);
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(trimmed) ? new Float(Number(trimmed)) : fallback;
}

function indent(value: Value, [width = 4, first, blank]: (Value | undefined)[], budget: Budget): Value {
  if (value instanceof Undefined) fail(value.reason);
  if (typeof value !== 'string') fail(`indent: expected text, found a value of type '${typeName(value)}'`);
  const amount = typeof width === 'string' ? width : '';
  const spaces = typeof width === 'string' ? 0 : integer(width, 'indent');
  budget.characters(Math.max(0, spaces));
  const margin = amount + ' '.repeat(Math.max(0, spaces));
  budget.values(value.length);
  const lines = splitLines(`${value}\n`);
  budget.characters(value.length + lines.length * margin.length);
  return lines
    .map((line, i) => ((i === 0 ? flag(first) : flag(blank) || line !== '') ? margin + line : line))
    .join('\n');
}

const length = filter([], (value, _, budget) => lengthOf(value, budget));
const orDefault = filter(['default_value', 'boolean'], (value, [fallback = '', boolean]) =>
  value instanceof Undefined || (flag(boolean) && !isTrue(value)) ? fallback : value,
);

const FILTERS = new Map([
  ['default', orDefault],
  ['d', orDefault],
  ['length', length],
  ['count', length],
  ['safe', filter([], (value) => value)],
  ['string', filter([], (value, _, budget) => text(value, budget))],
  [
    'trim',
    filter(['chars'], (value, [chars], budget) =>
      strip(textOf(value, budget), typeof chars === 'string' ? chars : undefined),
    ),
  ],
  ['upper', filter([], (value, _, budget) => textOf(value, budget).toUpperCase())],
  ['lower', filter([], (value, _, budget) => textOf(value, budget).toLowerCase())],
  ['capitalize', filter([], (value, _, budget) => capitalize(textOf(value, budget)))],
  [
    'title',
    filter([], (value, _, budget) =>
      textOf(value, budget, 2)
        .split(/([-\s({[<]+)/)
        .map((word) => capitalize(word))
        .join(''),
    ),
  ],
  [
    'replace',
    filter(['old', 'new', 'count'], (value, [old, replacement, count], budget) =>
      replace(
        textOf(value, budget),
        text(old ?? fail('replace: expected the text to replace'), budget),
        text(replacement ?? fail('replace: expected the replacement'), budget),
        count === undefined || count === null ? -1 : integer(count, 'replace'),
        budget,
      ),
    ),
  ],
  ['indent', filter(['width', 'first', 'blank'], indent)],
  [
    'join',
    filter(['d', 'attribute'], (value, [separator = '', path], budget) => {
      const get = getter(path, budget);
      const parts = iterate(value, budget).map((part) => text(get(part), budget));
      return joinTexts(parts, text(separator, budget), budget);
    }),
  ],
  ['list', filter([], (value, _, budget) => new Sequence(iterate(value, budget)))],
  [
    'first',
    filter([], (value, _, budget) => iterate(value, budget)[0] ?? new Undefined('No first item, sequence was empty.')),
  ],
  [
    'last',
    filter(
      [],
      (value, _, budget) => reversible(value, budget).at(-1) ?? new Undefined('No last item, sequence was empty.'),
    ),
  ],
  [
    'reverse',
    filter([], (value, _, budget) => {
      const reversed = reversible(value, budget).toReversed();
      return typeof value === 'string' ? reversed.join('') : new Sequence(reversed, 'generator');
    }),
  ],
  [
    'sort',
    filter(['reverse', 'case_sensitive', 'attribute'], (value, [reverse, caseSensitive, path], budget) => {
      const paths = typeof path === 'string' ? path.split(',') : [path];
      const getters = paths.map((one) => getter(one, budget));
      // a list, as in jinja2: undefined values are equal, and only comparing them by size is an error
      const keyOf = (entry: Value) =>
        new Sequence(getters.map((get) => foldCase(get(entry), flag(caseSensitive), budget)));
      return new Sequence(sort(iterate(value, budget), keyOf, flag(reverse), budget));
    }),
  ],
  [
    'unique',
    filter(['case_sensitive', 'attribute'], (value, [caseSensitive, path], budget) =>
      unique(value, flag(caseSensitive), getter(path, budget), budget),
    ),
  ],
  [
    'dictsort',
    filter(['case_sensitive', 'by', 'reverse'], (value, [caseSensitive, by = 'key', reverse], budget) => {
      if (by !== 'key' && by !== 'value') fail('You can only sort by either "key" or "value"');
      const get = getter(by === 'key' ? 0 : 1, budget);
      const keyOf = (pair: Value) => foldCase(get(pair), flag(caseSensitive), budget);
      return new Sequence(sort(pairs(mapping(value), budget), keyOf, flag(reverse), budget));
    }),
  ],
  [
    'items',
    filter(
      [],
      (value, _, budget) => new Sequence(value instanceof Undefined ? [] : pairs(mapping(value), budget), 'generator'),
    ),
  ],
  ['int', filter(['default'], (value, [fallback = 0]) => toInt(value, fallback))],
  ['float', filter(['default'], (value, [fallback = new Float(0)]) => toFloat(value, fallback))],
  [
    'abs',
    filter([], (value) => {
      if (value instanceof Float) return new Float(Math.abs(value.value));
      if (value instanceof Undefined) fail(value.reason);
      return Math.abs(numberOf(value) ?? fail(`bad operand type for abs(): '${typeName(value)}'`));
    }),
  ],
  ['tojson', filter(['ensure_ascii', 'indent', 'separators', 'sort_keys'], toJson)],
]);

const mapping = (value: Value) => (value instanceof Dict ? value : fail('Can only get item pairs from a mapping.'));

function reversible(value: Value, budget: Budget): readonly Value[] {
  if (value instanceof Sequence && value.type === 'generator') fail("'generator' object is not reversible");
  return iterate(value, budget);
}

/** Applies the filter `name` of jinja2, or `tojson` of transformers. */
export function applyFilter(name: string, value: Value, args: Arguments, budget: Budget): Value {
  budget.spend(64);
  switch (name) {
    case 'map':
      return new Sequence(map(value, args, budget), 'generator');
    case 'select':
    case 'reject':
    case 'selectattr':
    case 'rejectattr':
      return new Sequence(select(name, value, args, budget), 'generator');
  }
  const known = FILTERS.get(name) ?? fail(`No filter named '${name}' is supported.`);
  return known.apply(value, bind(name, args, known.parameters), budget);
}

function map(value: Value, { positional, keywords }: Arguments, budget: Budget): Value[] {
  const values = isTrue(value) ? iterate(value, budget) : [];
  const [name, ...rest] = positional;
  if (typeof name === 'string') {
    return values.map((entry) => applyFilter(name, entry, { positional: rest, keywords }, budget));
  }
  const [path, fallback] = bind('map', { positional: [], keywords }, ['attribute', 'default'], 1);
  const get = getter(path, budget);
  return values.map((entry) => {
    const result = get(entry);
    return result instanceof Undefined ? (fallback ?? result) : result;
  });
}

function select(kind: string, value: Value, { positional }: Arguments, budget: Budget): Value[] {
  const byAttribute = kind.endsWith('attr');
  const get = getter(byAttribute ? (positional[0] ?? fail(`Missing parameter for attribute name`)) : undefined, budget);
  const [name, ...args] = positional.slice(byAttribute ? 1 : 0);
  const passes = (tested: Value) =>
    name === undefined
      ? isTrue(tested)
      : applyTest(typeof name === 'string' ? name : fail('expected the name of a test'), tested, args, budget);
  const values = isTrue(value) ? iterate(value, budget) : [];
  return values.filter((entry) => passes(get(entry)) === kind.startsWith('select'));
}

const isString = (value: Value): value is string => typeof value === 'string';
const remainder = (value: Value, by: Value, budget: Budget) => numberOf(binary('%', value, by, budget));

const TESTS = new Map<string, (value: Value, budget: Budget) => boolean>([
  ['defined', (value) => !(value instanceof Undefined)],
  ['undefined', (value) => value instanceof Undefined],
  ['none', (value) => value === null],
  ['string', isString],
  ['number', (value) => numberOf(value) !== undefined],
  ['integer', (value) => typeof value === 'number'],
  ['float', (value) => value instanceof Float],
  ['boolean', (value) => typeof value === 'boolean'],
  ['true', (value) => value === true],
  ['false', (value) => value === false],
  ['mapping', (value) => value instanceof Dict],
  [
    'sequence',
    (value) =>
      isString(value) ||
      value instanceof Dict ||
      value instanceof Undefined ||
      (value instanceof Sequence && ['list', 'tuple', 'range'].includes(value.type)),
  ],
  [
    'iterable',
    (value) => isString(value) || value instanceof Dict || value instanceof Undefined || value instanceof Sequence,
  ],
  ['callable', (value) => value instanceof Callable || value instanceof Undefined],
  ['odd', (value, budget) => remainder(value, 2, budget) === 1],
  ['even', (value, budget) => remainder(value, 2, budget) === 0],
  ['lower', (value, budget) => isCased(textOf(value, budget), 'toLowerCase')],
  ['upper', (value, budget) => isCased(textOf(value, budget), 'toUpperCase')],
]);

/** Python's `str.islower` and `str.isupper`. */
const isCased = (value: string, method: 'toLowerCase' | 'toUpperCase') =>
  value === value[method]() && value.toLowerCase() !== value.toUpperCase();

const COMPARISONS = new Map([
  ['eq', '=='],
  ['equalto', '=='],
  ['ne', '!='],
  ['lt', '<'],
  ['lessthan', '<'],
  ['le', '<='],
  ['gt', '>'],
  ['greaterthan', '>'],
  ['ge', '>='],
  ['in', 'in'],
]);

/** Whether `value` passes the test `name` of jinja2. */
export function applyTest(name: string, value: Value, args: readonly Value[], budget: Budget): boolean {
  budget.spend(16);
  const test = TESTS.get(name);
  if (test !== undefined) return test(value, budget);
  const [other] = args;
  if (other !== undefined) {
    const operator = COMPARISONS.get(name);
    if (operator !== undefined) return isTrue(binary(operator, value, other, budget));
    if (name === 'divisibleby') return remainder(value, other, budget) === 0;
  }
  return fail(`No test named '${name}' is supported.`);
}
