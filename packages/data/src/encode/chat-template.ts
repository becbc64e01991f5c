import { Template } from '@huggingface/jinja';
import type { Message } from '../rows/preference-row';
import { strip, stripEnd, stripStart } from '../rows/python-strip';

/** What a chat template is given beside the messages. */
export interface ChatOptions {
  /** Whether to end in the header of the turn that the model is to write. Default false. */
  readonly addGenerationPrompt?: boolean;
  readonly bosToken?: string | undefined;
  readonly eosToken?: string | undefined;
}

/** A chat template that cannot be read (`parse`), or that refuses the messages it is given (`render`). */
export class ChatTemplateError extends Error {
  override readonly name = 'ChatTemplateError';

  constructor(
    readonly stage: 'parse' | 'render',
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/**
 * Renders a conversation by a model's chat template, as `tokenizer.apply_chat_template(tokenize=False)` of transformers
 * does; `trim` and `strip` take away what Python counts as whitespace.
 *
 * @param template the Jinja source, from `chat_template.jinja` or `tokenizer_config.json`
 * @throws {ChatTemplateError} where the template cannot be read, there are no messages, or the template refuses them
 */
export function renderChat(template: string, messages: readonly Message[], options: ChatOptions = {}): string {
  const parsed = parse(template);
  if (messages.length === 0) {
    throw new ChatTemplateError('render', 'found no messages, wanted at least one. Give the conversation’s turns.');
  }
  try {
    return parsed.render({
      ...pythonStrips,
      messages: messages.map(({ role, content }) => ({ role, content })),
      add_generation_prompt: options.addGenerationPrompt ?? false,
      bos_token: options.bosToken,
      eos_token: options.eosToken,
      tools: null,
      documents: null,
    });
  } catch (error) {
    throw new ChatTemplateError('render', why(error), { cause: error });
  }
}

let latest: { readonly source: string; readonly parsed: Template } | undefined;

/** Parsing costs more than rendering, and one template renders a whole file: the latest is kept. */
function parse(source: string): Template {
  if (latest?.source !== source) {
    try {
      const parsed = new Template(source);
      usePythonStrip(parsed.parsed);
      latest = { source, parsed };
    } catch (error) {
      throw new ChatTemplateError('parse', `the chat template is not Jinja that can be read: ${why(error)}`, {
        cause: error,
      });
    }
  }
  return latest.parsed;
}

const why = (error: unknown) => (error instanceof Error ? error.message : String(error));

/** Names of Python's strips as functions of the template's environment. */
const FUNCTIONS = { strip: 'python_strip', lstrip: 'python_lstrip', rstrip: 'python_rstrip' } as const;

const onText = (apply: (text: string, chars?: string) => string) => (value: unknown, chars: unknown) => {
  if (value === undefined) return '';
  if (typeof value !== 'string') throw new Error(`cannot strip ${typeof value}, wanted text`);
  if (chars !== undefined && chars !== null && typeof chars !== 'string') {
    throw new Error('strip takes the characters to strip as one text');
  }
  return apply(value, chars ?? undefined);
};

const pythonStrips = {
  [FUNCTIONS.strip]: onText(strip),
  [FUNCTIONS.lstrip]: onText(stripStart),
  [FUNCTIONS.rstrip]: onText(stripEnd),
};

interface Node {
  readonly type: string;
  readonly [key: string]: unknown;
}

/**
 * Turns `x | trim`, `x.strip()`, `x.lstrip()` and `x.rstrip()` into calls of Python's: the library's strip by
 * JavaScript's whitespace, and ignore the characters that they are told to strip.
 */
function usePythonStrip(value: unknown): void {
  if (Array.isArray(value)) {
    for (const item of value) usePythonStrip(item);
  } else if (value instanceof Map) {
    for (const entry of value) usePythonStrip(entry);
  } else if (isNode(value)) {
    for (const part of Object.values(value)) usePythonStrip(part);
    const call = stripCall(value);
    if (call !== undefined) Object.assign(value, call);
  }
}

/** The call that a trim filter or strip method becomes; undefined for any other node. */
function stripCall(node: Node): Node | undefined {
  const call = (name: keyof typeof FUNCTIONS, args: readonly unknown[]): Node => ({
    type: 'CallExpression',
    callee: { type: 'Identifier', value: FUNCTIONS[name] },
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
