import type { Budget } from './budget';
import { methodOf } from './methods';
import {
  Attributes,
  characters,
  compare,
  Dict,
  Float,
  fail,
  int,
  integer,
  isEqual,
  iterate,
  type Key,
  numberOf,
  reprFloat,
  Sequence,
  text,
  typeName,
  Undefined,
  type Value,
} from './values';

/** `a.name`: a method or attribute, else the item of that name. */
export function attribute(object: Value, name: string, budget: Budget): Value {
  if (object instanceof Undefined) fail(object.reason);
  const method = methodOf(object, name, budget);
  if (method !== undefined) return method;
  const found = object instanceof Attributes || object instanceof Dict ? object.entries.get(name) : undefined;
  return found === undefined ? missingAttribute(object, name) : found;
}

/** `a[key]`: the item, else the method or attribute of that name. */
export function item(object: Value, key: Value, budget: Budget): Value {
  if (object instanceof Undefined) fail(object.reason);
  if (object instanceof Dict) {
    const found = isKey(key) ? object.entries.get(key) : undefined;
    if (found !== undefined) return found;
  }
  if (typeof key === 'string') return attribute(object, key, budget);
  if (typeof key === 'number' || typeof key === 'boolean') {
    const i = Number(key);
    const items = typeof object === 'string' ? characters(object, budget) : isIndexed(object) ? object.items : [];
    const found = items[i < 0 ? items.length + i : i];
    if (found !== undefined) return found;
  }
  return new Undefined(`${nameOf(object)} has no element ${keyText(key)}`);
}

const isIndexed = (value: Value): value is Sequence =>
  value instanceof Sequence && ['list', 'tuple', 'range'].includes(value.type);

export const isKey = (value: Value): value is Key => typeof value === 'string' || typeof value === 'number';

const keyText = (key: Value) =>
  typeof key === 'number' ? String(key) : key instanceof Float ? reprFloat(key.value) : `of type '${typeName(key)}'`;

const nameOf = (object: Value) => (object === null ? 'None' : `${typeName(object)} object`);

/** Methods of Python that change a value. The sandbox of transformers forbids them. */
const CHANGING = new Set('append clear extend insert pop popitem remove reverse setdefault sort update'.split(' '));

function missingAttribute(object: Value, name: string): Undefined {
  const isContainer = object instanceof Sequence || object instanceof Dict;
  if (name.startsWith('__') || (isContainer && CHANGING.has(name))) {
    return new Undefined(`access to attribute '${name}' of '${typeName(object)}' object is unsafe.`);
  }
  return new Undefined(`'${nameOf(object)}' has no attribute '${name}'`);
}

/** `a[start:stop:step]`. */
export function slice(object: Value, bounds: readonly (Value | undefined)[], budget: Budget): Value {
  if (object instanceof Undefined) fail(object.reason);
  const [start, stop, step = 1] = bounds.map((bound) =>
    bound === undefined || bound === null ? undefined : integer(bound, 'slice'),
  );
  if (object instanceof Dict || object instanceof Attributes) fail(`'${typeName(object)}' object has no slices`);
  if (typeof object !== 'string' && !isIndexed(object)) return new Undefined(`${nameOf(object)} has no slices`);
  if (step === 0) fail('slice step cannot be zero');
  const items = typeof object === 'string' ? characters(object, budget) : object.items;
  const length = items.length;
  const [low, high] = step > 0 ? [0, length] : [-1, length - 1];
  const clamp = (i: number) => Math.min(high, Math.max(low, i < 0 ? i + length : i));
  const from = start === undefined ? (step > 0 ? low : high) : clamp(start);
  const to = stop === undefined ? (step > 0 ? high : low) : clamp(stop);
  const taken: Value[] = [];
  budget.values(Math.max(0, Math.ceil((to - from) / step)));
  for (let i = from; step > 0 ? i < to : i > to; i += step) taken.push(items[i]!);
  return typeof object === 'string' ? taken.join('') : new Sequence(taken, object.type);
}

/** An operator of two values other than `and` and `or`. */
export function binary(operator: string, a: Value, b: Value, budget: Budget): Value {
  switch (operator) {
    case '==':
      return isEqual(a, b, budget);
    case '!=':
      return !isEqual(a, b, budget);
    case 'in':
      return contains(b, a, budget);
    case 'not in':
      return !contains(b, a, budget);
    case '<':
      return compare(a, b, budget, operator) < 0;
    case '<=':
      return compare(a, b, budget, operator) <= 0;
    case '>':
      return compare(a, b, budget, operator) > 0;
    case '>=':
      return compare(a, b, budget, operator) >= 0;
    case '~':
      return concatenate(text(a, budget), text(b, budget), budget);
    default:
      return arithmetic(operator, a, b, budget);
  }
}

export function concatenate(a: string, b: string, budget: Budget): string {
  budget.concatenation(a.length + b.length);
  return a + b;
}

export function contains(container: Value, value: Value, budget: Budget): boolean {
  if (typeof container === 'string') {
    if (typeof value !== 'string') {
      fail(`'in <string>' requires string as left operand, not ${typeName(value)}`);
    }
    budget.search(container, value);
    return container.includes(value);
  }
  if (container instanceof Dict) {
    if (value instanceof Dict || (value instanceof Sequence && value.type === 'list')) {
      fail(`unhashable type: '${typeName(value)}'`);
    }
    return isKey(value) && container.entries.has(value);
  }
  return iterate(container, budget).some((item) => isEqual(item, value, budget));
}

function arithmetic(operator: string, a: Value, b: Value, budget: Budget): Value {
  for (const value of [a, b]) if (value instanceof Undefined) fail(value.reason);
  const [x, y] = [numberOf(a), numberOf(b)];
  if (x !== undefined && y !== undefined) {
    const result = calculate(operator, x, y);
    const isFloat = a instanceof Float || b instanceof Float;
    if (operator === '**' && (isFloat || y < 0)) fail('** is supported for integers of 0 or more only');
    return isFloat || operator === '/' ? new Float(result) : int(result);
  }
  if (operator === '+') {
    if (typeof a === 'string' && typeof b === 'string') return concatenate(a, b, budget);
    if (a instanceof Sequence && b instanceof Sequence && a.type === b.type && ['list', 'tuple'].includes(a.type)) {
      budget.values(a.items.length + b.items.length);
      return new Sequence([...a.items, ...b.items], a.type);
    }
  }
  if (operator === '*') {
    const [repeated, count] = typeof a === 'string' || a instanceof Sequence ? [a, b] : [b, a];
    if (typeof count === 'number' || typeof count === 'boolean') {
      const times = Math.max(0, Number(count));
      if (typeof repeated === 'string') {
        budget.characters(repeated.length * times);
        return repeated.length === 0 ? '' : repeated.repeat(times);
      }
      if (repeated instanceof Sequence && ['list', 'tuple'].includes(repeated.type)) {
        const { items, type } = repeated;
        budget.values(items.length * times);
        return new Sequence(
          Array.from({ length: items.length * times }, (_, i) => items[i % items.length]!),
          type,
        );
      }
    }
  }
  return fail(`unsupported operand type(s) for ${operator}: '${typeName(a)}' and '${typeName(b)}'`);
}

function calculate(operator: string, a: number, b: number): number {
  if (b === 0 && ['/', '//', '%'].includes(operator)) fail('division by zero');
  switch (operator) {
    case '+':
      return a + b;
    case '-':
      return a - b;
    case '*':
      return a * b;
    case '/':
      return a / b;
    case '//': {
      const quotient = Math.floor((a - modulo(a, b)) / b + 0.5);
      return quotient === 0 ? 0 * (a / b) : quotient;
    }
    case '%':
      return modulo(a, b);
    case '**':
      return a ** b;
    default:
      return fail(`unsupported operator ${operator}`);
  }
}

/** Python's `a % b`, which has the sign of `b`. */
function modulo(a: number, b: number): number {
  const rest = a % b;
  if (rest === 0) return b < 0 ? -0 : 0;
  return rest < 0 === b < 0 ? rest : rest + b;
}

/** `-a`, `+a` and `not a`. */
export function unary(operator: string, value: Value, isTrue: (value: Value) => boolean): Value {
  if (operator === 'not') return !isTrue(value);
  if (value instanceof Undefined) fail(value.reason);
  const number = numberOf(value);
  if (number === undefined) fail(`bad operand type for unary ${operator}: '${typeName(value)}'`);
  const result = operator === '-' ? -number : number;
  return value instanceof Float ? new Float(result) : int(result);
}
