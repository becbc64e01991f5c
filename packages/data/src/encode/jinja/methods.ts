import { strip, stripEnd, stripStart, WHITESPACE } from '../../rows/python-strip';
import { builtin } from './arguments';
import type { Budget } from './budget';
import { characters, Dict, fail, integer, isEqual, iterate, joinTexts, Sequence, type Value } from './values';

type Body<T> = (self: T, args: (Value | undefined)[], budget: Budget) => Value;

interface Method<T> {
  readonly parameters: readonly string[];
  readonly required: number;
  readonly body: Body<T>;
}

const method = <T>(parameters: readonly string[], required: number, body: Body<T>): Method<T> => ({
  parameters,
  required,
  body,
});

/** A text argument. */
export function string(value: Value | undefined, name: string): string {
  return typeof value === 'string' ? value : fail(`${name}: expected text, found a value of another type`);
}

const optional = (value: Value | undefined, name: string) =>
  value === undefined || value === null ? undefined : string(value, name);

const stripping = (apply: (text: string, chars?: string) => string) =>
  method<string>(['chars'], 0, (self, [chars], budget) => {
    const set = optional(chars, 'strip');
    budget.characters(self.length + (set?.length ?? 0));
    return apply(self, set);
  });

const changing = (apply: (text: string) => string) =>
  method<string>([], 0, (self, _, budget) => {
    budget.characters(self.length);
    return apply(self);
  });

const affix = (name: string, has: (text: string, part: string) => boolean) =>
  method<string>(['prefix'], 1, (self, [parts], budget) => {
    const list = parts instanceof Sequence && parts.type === 'tuple' ? iterate(parts, budget) : [parts!];
    return list.some((part) => {
      budget.characters(self.length);
      return has(self, string(part, name));
    });
  });

const letter = /\p{L}/u;

/** Python's `str.title`. */
function title(text: string): string {
  let inWord = false;
  return Array.from(text, (char) => {
    const changed = inWord ? char.toLowerCase() : char.toUpperCase();
    inWord = letter.test(char);
    return changed;
  }).join('');
}

export function capitalize(text: string): string {
  const [first = ''] = text;
  return first.toUpperCase() + text.slice(first.length).toLowerCase();
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: Python splits lines at these
const lineEnd = /\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]/;

/** Python's `str.splitlines`. */
export const splitLines = (text: string): string[] => {
  const lines = text.split(lineEnd);
  if (lines.at(-1) === '') lines.pop();
  return lines;
};

const spaces = `[${WHITESPACE}]`;
const words = new RegExp(`[^${WHITESPACE}]+`, 'g');

/** Python's `str.split`. */
function split(self: string, separator: string | undefined, limit: number, budget: Budget): Value {
  const most = limit < 0 ? Number.POSITIVE_INFINITY : limit;
  const parts: string[] = [];
  if (separator === undefined) {
    budget.values(self.length / 2);
    for (const { 0: word, index } of self.matchAll(words)) {
      parts.push(parts.length === most ? self.slice(index) : word);
      if (parts.length > most) break;
    }
    return new Sequence(parts);
  }
  if (separator === '') fail('empty separator');
  budget.search(self, separator);
  budget.values(self.length / separator.length);
  const all = self.split(separator);
  if (all.length <= most + 1) return new Sequence(all);
  return new Sequence([...all.slice(0, most), all.slice(most).join(separator)]);
}

/** Python's `str.rsplit` with a separator. */
function splitRight(self: string, separator: string, limit: number, budget: Budget): Value {
  const all = iterate(split(self, separator, -1, budget), budget) as readonly string[];
  if (limit < 0 || all.length <= limit + 1) return new Sequence(all);
  const head = all.slice(0, all.length - limit).join(separator);
  return new Sequence([head, ...all.slice(all.length - limit)]);
}

/** Python's `str.replace`. */
export function replace(self: string, old: string, replacement: string, count: number, budget: Budget): string {
  budget.search(self, old);
  const parts = old === '' ? ['', ...characters(self, budget), ''] : self.split(old);
  budget.values(parts.length);
  const times = count < 0 ? parts.length - 1 : Math.min(count, parts.length - 1);
  const head = joinTexts(parts.slice(0, times + 1), replacement, budget);
  return times === parts.length - 1 ? head : head + old + joinTexts(parts.slice(times + 1), old, budget);
}

const found = (self: string, part: string, budget: Budget, last = false) => {
  budget.search(self, part);
  const i = last ? self.lastIndexOf(part) : self.indexOf(part);
  return i === -1 ? -1 : characters(self.slice(0, i), budget).length;
};

const STRING = new Map<string, Method<string>>([
  ['strip', stripping(strip)],
  ['lstrip', stripping(stripStart)],
  ['rstrip', stripping(stripEnd)],
  ['upper', changing((text) => text.toUpperCase())],
  ['lower', changing((text) => text.toLowerCase())],
  ['title', changing(title)],
  ['capitalize', changing(capitalize)],
  ['startswith', affix('startswith', (text, part) => text.startsWith(part))],
  ['endswith', affix('endswith', (text, part) => text.endsWith(part))],
  [
    'split',
    method(['sep', 'maxsplit'], 0, (self, [sep, limit], budget) =>
      split(self, optional(sep, 'split'), limit === undefined ? -1 : integer(limit, 'split'), budget),
    ),
  ],
  [
    'rsplit',
    method(['sep', 'maxsplit'], 1, (self, [sep, limit], budget) =>
      splitRight(self, string(sep, 'rsplit'), limit === undefined ? -1 : integer(limit, 'rsplit'), budget),
    ),
  ],
  [
    'splitlines',
    method([], 0, (self, _, budget) => {
      budget.values(self.length);
      return new Sequence(splitLines(self));
    }),
  ],
  [
    'replace',
    method(['old', 'new', 'count'], 2, (self, [old, replacement, count], budget) =>
      replace(
        self,
        string(old, 'replace'),
        string(replacement, 'replace'),
        count === undefined ? -1 : integer(count, 'replace'),
        budget,
      ),
    ),
  ],
  [
    'join',
    method(['iterable'], 1, (self, [list], budget) =>
      joinTexts(
        iterate(list!, budget).map((part) => string(part, 'join')),
        self,
        budget,
      ),
    ),
  ],
  ['find', method(['sub'], 1, (self, [part], budget) => found(self, string(part, 'find'), budget))],
  ['rfind', method(['sub'], 1, (self, [part], budget) => found(self, string(part, 'rfind'), budget, true))],
  [
    'index',
    method(['sub'], 1, (self, [part], budget) => {
      const i = found(self, string(part, 'index'), budget);
      return i === -1 ? fail('substring not found') : i;
    }),
  ],
  [
    'count',
    method(['sub'], 1, (self, [part], budget) => {
      const sub = string(part, 'count');
      budget.search(self, sub);
      return sub === '' ? characters(self, budget).length + 1 : self.split(sub).length - 1;
    }),
  ],
  [
    'removeprefix',
    method(['prefix'], 1, (self, [part]) => {
      const prefix = string(part, 'removeprefix');
      return self.startsWith(prefix) ? self.slice(prefix.length) : self;
    }),
  ],
  [
    'removesuffix',
    method(['suffix'], 1, (self, [part]) => {
      const suffix = string(part, 'removesuffix');
      return suffix !== '' && self.endsWith(suffix) ? self.slice(0, -suffix.length) : self;
    }),
  ],
  ['isdigit', changingTest(/^\p{Nd}+$/u)],
  ['isalpha', changingTest(/^\p{L}+$/u)],
  ['isalnum', changingTest(/^[\p{L}\p{Nd}]+$/u)],
  ['isspace', changingTest(new RegExp(`^${spaces}+$`))],
]);

function changingTest(pattern: RegExp): Method<string> {
  return method([], 0, (self, _, budget) => {
    budget.characters(self.length);
    return pattern.test(self);
  });
}

const LIST = new Map<string, Method<Sequence>>([
  [
    'index',
    method(['value'], 1, (self, [value], budget) => {
      const i = iterate(self, budget).findIndex((item) => isEqual(item, value!, budget));
      return i === -1 ? fail('the value is not in the list') : i;
    }),
  ],
  [
    'count',
    method(
      ['value'],
      1,
      (self, [value], budget) => iterate(self, budget).filter((item) => isEqual(item, value!, budget)).length,
    ),
  ],
]);

const DICT = new Map<string, Method<Dict>>([
  [
    'get',
    method(['key', 'default'], 1, ({ entries }, [key, fallback = null]) =>
      typeof key === 'string' || typeof key === 'number' ? (entries.get(key) ?? fallback) : fallback,
    ),
  ],
  ['keys', method([], 0, (self, _, budget) => new Sequence(iterate(self, budget), 'dict_keys'))],
  [
    'values',
    method([], 0, ({ entries }, _, budget) => {
      budget.values(entries.size);
      return new Sequence([...entries.values()], 'dict_values');
    }),
  ],
  ['items', method([], 0, (self, _, budget) => new Sequence(pairs(self, budget), 'dict_items'))],
]);

export function pairs({ entries }: Dict, budget: Budget): Sequence[] {
  budget.values(4 * entries.size);
  return Array.from(entries, (pair) => new Sequence(pair, 'tuple'));
}

/** A method of a value, bound to it. Methods that change a value do not exist: the sandbox of transformers forbids them. */
export function methodOf(self: Value, name: string, budget: Budget): Value | undefined {
  const find = <T extends Value>(owner: T, methods: ReadonlyMap<string, Method<T>>) => {
    const entry = methods.get(name);
    if (entry === undefined) return undefined;
    return builtin(name, entry.parameters, entry.required, (...args) => {
      budget.spend(64);
      return entry.body(owner, args, budget);
    });
  };
  if (typeof self === 'string') return find(self, STRING);
  if (self instanceof Dict) return find(self, DICT);
  if (self instanceof Sequence && (self.type === 'list' || self.type === 'tuple')) return find(self, LIST);
  return undefined;
}
