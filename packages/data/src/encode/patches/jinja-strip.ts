import type { Template } from '@huggingface/jinja';
import { strip, stripEnd, stripStart } from '../../rows/python-strip';

/** The template variables that hold Python's strip functions; pass `pythonStrips` to `render`. */
const NAMES = { strip: 'python_strip', lstrip: 'python_lstrip', rstrip: 'python_rstrip' } as const;

const onText = (apply: (text: string, chars?: string) => string) => (value: unknown, chars: unknown) => {
  if (value === undefined) return '';
  if (typeof value !== 'string') throw new Error(`strip: expected text, found ${typeof value}`);
  if (chars !== undefined && chars !== null && typeof chars !== 'string') {
    throw new Error(`strip: expected the characters to remove as text, found ${typeof chars}`);
  }
  return apply(value, chars ?? undefined);
};

export const pythonStrips = {
  [NAMES.strip]: onText(strip),
  [NAMES.lstrip]: onText(stripStart),
  [NAMES.rstrip]: onText(stripEnd),
};

/**
 * Gives `x | trim`, `x.strip()`, `x.lstrip()` and `x.rstrip()` Python's meaning in @huggingface/jinja 0.5.11, by replacing
 * them in the parsed template with calls of `pythonStrips`.
 *
 * The package removes JavaScript's whitespace, which differs from Python's (see python-strip.ts), ignores the characters
 * that are passed to `strip`, and rejects those that are passed to `trim`. test/encode/patches/jinja-strip.test.ts fails
 * once the package strips as Python does: then delete this file.
 */
export function usePythonStrip({ parsed }: Template): void {
  rewrite(parsed);
}

interface Node {
  readonly type: string;
  readonly [key: string]: unknown;
}

function rewrite(value: unknown): void {
  if (Array.isArray(value)) {
    for (const item of value) rewrite(item);
  } else if (value instanceof Map) {
    for (const entry of value) rewrite(entry);
  } else if (isNode(value)) {
    for (const part of Object.values(value)) rewrite(part);
    const call = stripCall(value);
    if (call !== undefined) Object.assign(value, call);
  }
}

/** The call that replaces a trim filter or strip method; undefined for any other node. */
function stripCall(node: Node): Node | undefined {
  const call = (name: keyof typeof NAMES, args: readonly unknown[]): Node => ({
    type: 'CallExpression',
    callee: { type: 'Identifier', value: NAMES[name] },
    args,
  });
  if (node.type === 'FilterExpression' && isNode(node.filter)) {
    if (identifier(node.filter) === 'trim') return call('strip', [node.operand]);
    if (identifier(node.filter.callee) === 'trim') return call('strip', [node.operand, ...list(node.filter.args)]);
  }
  if (node.type === 'CallExpression' && isNode(node.callee) && node.callee.type === 'MemberExpression') {
    const name = node.callee.computed === false ? identifier(node.callee.property) : undefined;
    if (name === 'strip' || name === 'lstrip' || name === 'rstrip') {
      return call(name, [node.callee.object, ...list(node.args)]);
    }
  }
  return undefined;
}

const isNode = (value: unknown): value is Node =>
  typeof value === 'object' && value !== null && typeof (value as { type?: unknown }).type === 'string';

const identifier = (value: unknown) =>
  isNode(value) && value.type === 'Identifier' && typeof value.value === 'string' ? value.value : undefined;

const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
