import { builtin } from './arguments';
import type { Budget } from './budget';
import { isKey } from './operators';
import { Attributes, Callable, Dict, fail, integer, iterate, Sequence, text, type Value } from './values';

/** jinja2's sandbox, in which transformers renders, has the same limit. */
const MAX_RANGE = 100_000;

function range(budget: Budget, args: readonly (Value | undefined)[]): Value {
  const [first, second, step = 1] = args.map((value) => (value === undefined ? undefined : integer(value, 'range')));
  const [start, stop] = second === undefined ? [0, first!] : [first!, second];
  if (step === 0) fail('range() arg 3 must not be zero');
  const length = Math.max(0, Math.ceil((stop - start) / step));
  if (length > MAX_RANGE) {
    fail(`Range too big. The sandbox blocks ranges larger than MAX_RANGE (${MAX_RANGE}).`);
  }
  budget.values(length);
  return new Sequence(
    Array.from({ length }, (_, i) => start + i * step),
    'range',
  );
}

function entriesOf(source: Value, budget: Budget): [string, Value][] {
  const pairs =
    source instanceof Dict ? [...source.entries] : iterate(source, budget).map((pair) => iterate(pair, budget));
  return pairs.map((pair) => {
    const [key, value] = pair;
    if (pair.length !== 2 || !isKey(key!)) fail('expected pairs of a name and a value');
    return [String(key), value!];
  });
}

const MONTHS = 'January February March April May June July August September October November December'.split(' ');
const DAYS = 'Sunday Monday Tuesday Wednesday Thursday Friday Saturday'.split(' ');

/** Python's `datetime.now().strftime(format)` in the C locale. */
function formatDate(format: string, now = new Date()): string {
  const pad = (value: number, width = 2) => String(value).padStart(width, '0');
  const [month, day] = [MONTHS[now.getMonth()]!, DAYS[now.getDay()]!];
  const codes: Readonly<Record<string, string>> = {
    Y: String(now.getFullYear()),
    y: pad(now.getFullYear() % 100),
    m: pad(now.getMonth() + 1),
    d: pad(now.getDate()),
    b: month.slice(0, 3),
    B: month,
    a: day.slice(0, 3),
    A: day,
    H: pad(now.getHours()),
    I: pad(now.getHours() % 12 || 12),
    p: now.getHours() < 12 ? 'AM' : 'PM',
    M: pad(now.getMinutes()),
    S: pad(now.getSeconds()),
    '%': '%',
  };
  return format.replace(/%(.?)/gs, (_, code: string) =>
    Object.hasOwn(codes, code) ? codes[code]! : fail(`strftime_now: the code %${code} is not supported`),
  );
}

/** The functions that transformers gives to a chat template. */
export const globals = (budget: Budget): [string, Value][] => [
  ['range', builtin('range', ['start', 'stop', 'step'], 1, (...args) => range(budget, args), 'function')],
  [
    'namespace',
    new Callable('function', ({ positional: [source], keywords }) => {
      const entries = source === undefined ? [] : entriesOf(source, budget);
      return new Attributes('Namespace', new Map([...entries, ...keywords]));
    }),
  ],
  [
    'dict',
    new Callable('function', ({ positional: [source], keywords }) => {
      const entries = source === undefined ? [] : entriesOf(source, budget);
      return new Dict(new Map([...entries, ...keywords]));
    }),
  ],
  [
    'raise_exception',
    builtin('raise_exception', ['message'], 1, (message) => fail(text(message!, budget)), 'function'),
  ],
  [
    'strftime_now',
    builtin(
      'strftime_now',
      ['format'],
      1,
      (format) => {
        const pattern = text(format!, budget);
        budget.characters(10 * pattern.length);
        return formatDate(pattern);
      },
      'function',
    ),
  ],
];
