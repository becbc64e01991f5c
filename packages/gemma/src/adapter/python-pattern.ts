import { describe } from '@wpo/internal/describe';

// Regular expressions of adapter files, in Python's syntax. The files are not trusted, and JavaScript's own matcher may take
// exponential time. This one visits each pair of instruction and position at most once, so its time is at most their product.
// Source of the method: Russ Cox, "Regular Expression Matching: the Virtual Machine Approach".

/** Characters in a pattern. PEFT's own are below 200, unsloth's about 400. */
const MAX_LENGTH = 2000;

/** Instructions of a compiled pattern: repetitions `{m,n}` are written out. */
const MAX_INSTRUCTIONS = 4000;

const MAX_REPEAT = 100;

/** Levels of nested groups. */
const MAX_DEPTH = 50;

/** A test of the text around a position. */
type Assertion = (text: string, position: number) => boolean;

type Node =
  | { readonly kind: 'character'; readonly accepts: (character: string) => boolean }
  | { readonly kind: 'assertion'; readonly holds: Assertion }
  | { readonly kind: 'lookahead'; readonly node: Node; readonly negative: boolean }
  | { readonly kind: 'sequence' | 'alternatives'; readonly nodes: readonly Node[] }
  | { readonly kind: 'repeat'; readonly node: Node; readonly min: number; readonly max: number };

type Instruction =
  | { readonly kind: 'character'; readonly accepts: (character: string) => boolean }
  | { readonly kind: 'assertion'; readonly holds: Assertion }
  | { readonly kind: 'lookahead'; readonly program: readonly Instruction[]; readonly negative: boolean }
  | { readonly kind: 'split'; readonly targets: readonly number[] }
  | { readonly kind: 'match' };

/** A compiled regular expression, matched from the beginning of a text. */
export interface PythonPattern {
  /** Number of instructions: a match takes at most `size` times the text's length. */
  readonly size: number;
  /** Python's `re.match(pattern, text)`: whether the text begins with a match. */
  matchesStart(text: string): boolean;
  /** Python's `re.fullmatch(pattern, text)`: whether the whole text is a match. */
  matchesAll(text: string): boolean;
}

/**
 * Compiles a regular expression in the syntax of Python's `re`: literals, `.`, classes, groups, `|`, repetitions, `^`, `$`, `\b` and
 * lookahead. Lazy repetitions match the same texts as greedy ones.
 *
 * @throws Error for invalid syntax, and for backreferences, lookbehind, inline flags and possessive repetitions. The message
 *   completes "found …"
 */
export function pythonPattern(source: string): PythonPattern {
  if (source.length > MAX_LENGTH) {
    throw new Error(`a regular expression of ${source.length} characters, more than ${MAX_LENGTH}`);
  }
  const budget = { instructions: MAX_INSTRUCTIONS };
  const program = [...compile(new Parser(source).parse(), budget), { kind: 'match' } as const];
  const matches = (text: string, whole: boolean) => run(program, text, 0, whole);
  return {
    size: MAX_INSTRUCTIONS - budget.instructions,
    matchesStart: (text) => matches(text, false),
    matchesAll: (text) => matches(text, true),
  };
}

/** Whether a program matches from `start` on; `whole`: up to the end. */
function run(program: readonly Instruction[], text: string, start: number, whole: boolean): boolean {
  const width = text.length + 1;
  const visited = new Uint8Array(program.length * width);
  const open: [instruction: number, position: number][] = [[0, start]];
  for (let next = open.pop(); next; next = open.pop()) {
    const [at, position] = next;
    if (visited[at * width + position]) continue;
    visited[at * width + position] = 1;
    const instruction = program[at]!;
    switch (instruction.kind) {
      case 'match':
        if (!whole || position === text.length) return true;
        break;
      case 'character':
        if (position < text.length && instruction.accepts(text[position]!)) open.push([at + 1, position + 1]);
        break;
      case 'assertion':
        if (instruction.holds(text, position)) open.push([at + 1, position]);
        break;
      case 'lookahead':
        if (run(instruction.program, text, position, false) !== instruction.negative) open.push([at + 1, position]);
        break;
      case 'split':
        for (const offset of instruction.targets) open.push([at + offset, position]);
    }
  }
  return false;
}

/** Targets of splits are relative to the split, so that programs can be joined. */
function compile(node: Node, budget: { instructions: number }): Instruction[] {
  const take = (count: number) => {
    budget.instructions -= count;
    if (budget.instructions < 0) throw new Error('a regular expression that is too large');
  };
  switch (node.kind) {
    case 'character':
    case 'assertion':
      take(1);
      return [node];
    case 'lookahead':
      take(2);
      return [
        { kind: 'lookahead', negative: node.negative, program: [...compile(node.node, budget), { kind: 'match' }] },
      ];
    case 'sequence':
      return node.nodes.flatMap((child) => compile(child, budget));
    case 'alternatives': {
      let program = compile(node.nodes.at(-1)!, budget);
      for (const child of node.nodes.slice(0, -1).reverse()) {
        take(2);
        const first = compile(child, budget);
        program = [split(1, first.length + 2), ...first, split(program.length + 1), ...program];
      }
      return program;
    }
    case 'repeat': {
      const { min, max } = node;
      const parts: Instruction[] = [];
      for (let i = 0; i < min; i++) parts.push(...compile(node.node, budget));
      const body = compile(node.node, budget);
      take(2);
      if (max === Number.POSITIVE_INFINITY)
        return [...parts, split(1, body.length + 2), ...body, split(-body.length - 1)];
      let optional: Instruction[] = [];
      for (let i = min; i < max; i++) {
        take(1 + body.length);
        optional = [split(1, body.length + optional.length + 1), ...body, ...optional];
      }
      return [...parts, ...optional];
    }
  }
}

const split = (...targets: readonly number[]): Instruction => ({ kind: 'split', targets });

const isDigit = (character: string) => /[0-9]/.test(character);
const isWord = (character: string) => /[A-Za-z0-9_]/.test(character);
const isSpace = (character: string) => /[ \t\n\r\f\v]/.test(character);
const not = (accepts: (character: string) => boolean) => (character: string) => !accepts(character);

const CLASSES: Readonly<Record<string, (character: string) => boolean>> = {
  d: isDigit,
  D: not(isDigit),
  w: isWord,
  W: not(isWord),
  s: isSpace,
  S: not(isSpace),
};

const CONTROLS: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', f: '\f', v: '\v', a: '\u0007' };

const atEdge: Assertion = (text, position) => {
  const isWordAt = (index: number) => index >= 0 && index < text.length && isWord(text[index]!);
  return isWordAt(position - 1) !== isWordAt(position);
};
const atStart: Assertion = (_, position) => position === 0;
const atEnd: Assertion = (text, position) => position === text.length;
/** Python's `$` also matches before a line break at the end. */
const atLineEnd: Assertion = (text, position) => text.length - position < 2 && /^\n?$/.test(text.slice(position));

const ASSERTIONS: Readonly<Record<string, Assertion>> = {
  b: atEdge,
  B: (text, position) => !atEdge(text, position),
  A: atStart,
  Z: atEnd,
};

class Parser {
  private at = 0;
  private depth = 0;

  constructor(private readonly source: string) {}

  parse(): Node {
    const node = this.alternatives();
    if (this.at < this.source.length) throw this.problem('an unbalanced )');
    return node;
  }

  private alternatives(): Node {
    const nodes = [this.sequence()];
    while (this.skip('|')) nodes.push(this.sequence());
    return nodes.length === 1 ? nodes[0]! : { kind: 'alternatives', nodes };
  }

  private sequence(): Node {
    const nodes: Node[] = [];
    while (this.at < this.source.length && !/[|)]/.test(this.source[this.at]!)) nodes.push(this.repeated());
    return { kind: 'sequence', nodes };
  }

  private repeated(): Node {
    const node = this.atom();
    const bounds = this.bounds();
    if (bounds === undefined) return node;
    if (node.kind === 'assertion' || node.kind === 'lookahead') throw this.problem('a repetition of nothing');
    if (this.skip('+')) throw this.problem('a possessive repetition, which is not supported');
    this.skip('?'); // lazy: matches the same texts
    if (this.bounds() !== undefined) throw this.problem('two repetitions after each other');
    return { kind: 'repeat', node, ...bounds };
  }

  private bounds(): { readonly min: number; readonly max: number } | undefined {
    const unlimited = Number.POSITIVE_INFINITY;
    if (this.skip('*')) return { min: 0, max: unlimited };
    if (this.skip('+')) return { min: 1, max: unlimited };
    if (this.skip('?')) return { min: 0, max: 1 };
    const found = /^\{(\d*)(,?)(\d*)\}/.exec(this.source.slice(this.at));
    if (!found || found[0] === '{}') return undefined; // a literal brace, as in Python
    this.at += found[0].length;
    const [, low, comma, high] = found;
    const min = Number(low);
    const max = comma === '' ? min : high === '' ? unlimited : Number(high);
    if (min > max) throw this.problem(`the repetition ${found[0]}`);
    if (min > MAX_REPEAT || (max > MAX_REPEAT && max !== unlimited)) {
      throw this.problem(`the repetition ${found[0]}, more than ${MAX_REPEAT}`);
    }
    return { min, max };
  }

  private atom(): Node {
    const character = this.source[this.at++]!;
    if (character === '(') return this.group();
    if (character === '[') return { kind: 'character', accepts: this.characterClass() };
    if (character === '.') return { kind: 'character', accepts: (found) => found !== '\n' };
    if (character === '^') return { kind: 'assertion', holds: atStart };
    if (character === '$') return { kind: 'assertion', holds: atLineEnd };
    if (/[*+?]/.test(character)) throw this.problem('a repetition of nothing');
    if (character !== '\\') return { kind: 'character', accepts: (found) => found === character };
    const holds = ASSERTIONS[this.source[this.at] ?? ''];
    if (holds === undefined) return { kind: 'character', accepts: this.escape() };
    this.at++;
    return { kind: 'assertion', holds };
  }

  private group(): Node {
    if (++this.depth > MAX_DEPTH) throw this.problem(`more than ${MAX_DEPTH} levels of groups`);
    const lookahead = this.skip('?=') ? 'positive' : this.skip('?!') ? 'negative' : undefined;
    if (lookahead === undefined && this.skip('?')) {
      if (this.skip('<=') || this.skip('<!')) throw this.problem('lookbehind, which is not supported');
      const named = /^P<[A-Za-z_]\w*>/.exec(this.source.slice(this.at));
      if (named) this.at += named[0].length;
      else if (!this.skip(':')) throw this.problem('an inline flag or another extension, which is not supported');
    }
    const node = this.alternatives();
    if (!this.skip(')')) throw this.problem('a ( that is not closed');
    this.depth--;
    return lookahead === undefined ? node : { kind: 'lookahead', node, negative: lookahead === 'negative' };
  }

  /** After `\`: the characters that are accepted. */
  private escape(): (character: string) => boolean {
    const character = this.source[this.at++];
    if (character === undefined) throw this.problem('a \\ at the end');
    const shorthand = Object.hasOwn(CLASSES, character) ? CLASSES[character] : undefined;
    if (shorthand) return shorthand;
    if (/[0-9]/.test(character)) throw this.problem('a backreference, which is not supported');
    const literal = Object.hasOwn(CONTROLS, character) ? CONTROLS[character] : character;
    if (literal === character && /[A-Za-z]/.test(character)) throw this.problem(`the escape \\${character}`);
    return (found) => found === literal;
  }

  /** After `[`. */
  private characterClass(): (character: string) => boolean {
    const negative = this.skip('^');
    const tests: ((character: string) => boolean)[] = [];
    for (let first = true; first || this.source[this.at] !== ']'; first = false) {
      const from = this.classCharacter();
      if (typeof from === 'function') {
        tests.push(from);
        continue;
      }
      const isRange = this.source[this.at] === '-' && this.source[this.at + 1] !== ']';
      if (!isRange) {
        tests.push((found) => found === from);
        continue;
      }
      this.at++;
      const to = this.classCharacter();
      if (typeof to === 'function' || to < from) throw this.problem('an invalid range in a class');
      tests.push((found) => found >= from && found <= to);
    }
    this.at++;
    const accepts = (character: string) => tests.some((test) => test(character));
    return negative ? not(accepts) : accepts;
  }

  private classCharacter(): string | ((character: string) => boolean) {
    const character = this.source[this.at++];
    if (character === undefined) throw this.problem('a [ that is not closed');
    if (character !== '\\') return character;
    const next = this.source[this.at] ?? '';
    if (Object.hasOwn(CLASSES, next)) return this.escape();
    this.escape();
    return CONTROLS[next] ?? next;
  }

  private skip(text: string): boolean {
    const isNext = this.source.startsWith(text, this.at);
    if (isNext) this.at += text.length;
    return isNext;
  }

  private problem(found: string): Error {
    return new Error(`${found} at character ${this.at} of the regular expression ${describe(this.source)}`);
  }
}
