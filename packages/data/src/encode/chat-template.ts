import { printable } from '@wpo/internal/printable';
import type { Message } from '../rows/preference-row';
import { Budget, LimitError } from './jinja/budget';
import { globals } from './jinja/globals';
import { Interpreter, Scope } from './jinja/interpreter';
import { type Node, parseTemplate } from './jinja/syntax';
import { Dict, Sequence, type Value } from './jinja/values';

export interface ChatOptions {
  /** Whether to end in the header of the model's turn, so that the model continues with its answer. Default false. */
  readonly addGenerationPrompt?: boolean;
  readonly bosToken?: string | undefined;
  readonly eosToken?: string | undefined;
}

/**
 * A chat template that cannot be parsed (`parse`), rejects the messages (`render`), or would take too much time or memory
 * (`limit`).
 */
export class ChatTemplateError extends Error {
  override readonly name = 'ChatTemplateError';

  constructor(
    readonly stage: 'parse' | 'render' | 'limit',
    message: string,
    options?: ErrorOptions,
  ) {
    super(printable(message), options);
  }
}

/**
 * Renders a conversation by a model's chat template, as `tokenizer.apply_chat_template(tokenize=False)` of transformers
 * does. Templates come from strangers: one can reach nothing but the conversation, and its work and output are limited.
 *
 * @param template the Jinja source, from `chat_template.jinja` or `tokenizer_config.json`
 * @throws {ChatTemplateError} if the template cannot be parsed, there are no messages, the template rejects them, or it
 * does too much work
 */
export function renderChat(template: string, messages: readonly Message[], options: ChatOptions = {}): string {
  const parsed = parse(template);
  if (messages.length === 0) {
    throw new ChatTemplateError('render', 'messages: expected at least one, found none. Pass the conversation.');
  }
  const length = messages.reduce((sum, { role, content }) => sum + role.length + content.length + 64, 0);
  const budget = new Budget(length);
  const scope = new Scope(new Scope(undefined, globals(budget)), variables(messages, options));
  try {
    return new Interpreter(budget).render(parsed, scope);
  } catch (error) {
    if (error instanceof LimitError) throw tooMuch(error.message, error);
    if (error instanceof RangeError) throw tooMuch('it is nested too deeply, or makes too long a text', error);
    const message = messageOf(error).trim() || 'the chat template rejects the messages and gives no reason';
    throw new ChatTemplateError('render', message, { cause: error });
  }
}

const tooMuch = (why: string, cause: unknown) =>
  new ChatTemplateError(
    'limit',
    `the chat template takes too much time or memory to render: ${why}. Use the template of the model's original ` +
      'repository: put it into chat_template.jinja.',
    { cause },
  );

function variables(messages: readonly Message[], options: ChatOptions): [string, Value][] {
  const tokens = { bos_token: options.bosToken, eos_token: options.eosToken };
  return [
    [
      'messages',
      new Sequence(messages.map(({ role, content }) => new Dict(new Map(Object.entries({ role, content }))))),
    ],
    ['add_generation_prompt', options.addGenerationPrompt ?? false],
    ['tools', null],
    ['documents', null],
    ...Object.entries(tokens).filter((entry): entry is [string, string] => entry[1] !== undefined),
  ];
}

let latest: { readonly source: string; readonly parsed: readonly Node[] } | undefined;

/** Parses a template. The latest is cached, because parsing costs more than rendering and all rows share a template. */
function parse(source: string): readonly Node[] {
  if (latest?.source !== source) {
    try {
      latest = { source, parsed: parseTemplate(source) };
    } catch (error) {
      throw new ChatTemplateError('parse', `the chat template is not valid Jinja: ${messageOf(error)}`, {
        cause: error,
      });
    }
  }
  return latest.parsed;
}

const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error));
