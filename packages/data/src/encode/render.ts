import { describe } from '@wpo/internal/describe';
import { RowError, type RowLocation } from '../rows/fields';
import type { Message } from '../rows/preference-row';
import { strip } from '../rows/python-strip';
import { ChatTemplateError, renderChat } from './chat-template';
import type { Tokenizer } from './tokenizer';

/** The tokenizer and chat template of a model, as `loadTokenizerFolder` returns them. */
export interface TextOptions {
  readonly tokenizer: Tokenizer;
  /** The Jinja source. Undefined for a model without one, such as a base model; encoding a conversation then fails. */
  readonly chatTemplate: string | undefined;
  /** What happens to system turns. Default `error`. */
  readonly systemRole?: SystemRole | undefined;
}

/**
 * - `error`: the chat template decides; Gemma's refuses them.
 * - `merge`: their texts are put before the first user message, with a blank line between, as Gemma-3's template does.
 */
export type SystemRole = 'error' | 'merge';

/** Puts the texts of system turns before the first user message. Without a user message, nothing changes. */
function mergeSystem(messages: readonly Message[]): readonly Message[] {
  const texts = messages.filter(({ role }) => role === 'system').map(({ content }) => content);
  const others = messages.filter(({ role }) => role !== 'system');
  const first = others.findIndex(({ role }) => role === 'user');
  if (texts.length === 0 || first < 0) return messages;
  const content = [...texts, others[first]!.content].filter((text) => strip(text) !== '').join('\n\n');
  return others.with(first, { role: 'user', content });
}

/** The texts of a pair as a template renders them. A conversation is `prompt + header + answer`. */
export interface PairTexts {
  /** Everything before the model's turn. */
  readonly prompt: string;
  /** What begins the model's turn. */
  readonly header: string;
  /** The answers with what ends the turn. */
  readonly chosen: string;
  readonly rejected: string;
}

function rolesOf(messages: readonly Message[]): string {
  const shown = messages.slice(0, 8).map(({ role }) => role.slice(0, 40));
  return `${shown.join(', ')}${messages.length > shown.length ? ', …' : ''}`;
}

/** Renders a row's messages. If the chat template rejects them, throws an error that names the row. */
export function renderRow(
  messages: readonly Message[],
  at: RowLocation,
  options: TextOptions,
  addGenerationPrompt: boolean,
): string {
  try {
    return render(messages, options, addGenerationPrompt);
  } catch (error) {
    if (!(error instanceof ChatTemplateError) || error.stage !== 'render') throw error;
    throw new RowError(
      at,
      {
        field: 'prompt',
        found: `messages that it rejects (${error.message})`,
        expected: 'messages that the chat template accepts',
        hint: `The roles here are ${rolesOf(messages)}: ${systemHint(messages, options)}change them, or drop the row.`,
      },
      { cause: error },
    );
  }
}

const systemHint = (messages: readonly Message[], { systemRole }: TextOptions): string =>
  systemRole !== 'merge' && messages.some(({ role }) => role === 'system')
    ? 'set system_role to "merge", which puts system turns before the first user message, '
    : '';

export function render(
  messages: readonly Message[],
  { tokenizer, chatTemplate, systemRole = 'error' }: TextOptions,
  addGenerationPrompt: boolean,
) {
  if (chatTemplate === undefined) {
    throw new Error(
      'chat template: expected a Jinja template, found none. Put chat_template.jinja into the model’s folder, ' +
        'or "chat_template" into its tokenizer_config.json.',
    );
  }
  if (systemRole !== 'error' && systemRole !== 'merge') {
    throw new Error(`systemRole: expected "error" or "merge", found ${describe(systemRole)}.`);
  }
  const { bosToken, eosToken } = tokenizer;
  return renderChat(chatTemplate, systemRole === 'merge' ? mergeSystem(messages) : messages, {
    addGenerationPrompt,
    bosToken,
    eosToken,
  });
}
