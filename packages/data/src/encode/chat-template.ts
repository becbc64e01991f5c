import { Template } from '@huggingface/jinja';
import type { Message } from '../rows/preference-row';
import { pythonStrips, usePythonStrip } from './patches/jinja-strip';

export interface ChatOptions {
  /** Whether to end in the header of the model's turn, so that the model continues with its answer. Default false. */
  readonly addGenerationPrompt?: boolean;
  readonly bosToken?: string | undefined;
  readonly eosToken?: string | undefined;
}

/** A chat template that cannot be parsed (`parse`), or that rejects the messages (`render`). */
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
 * does.
 *
 * @param template the Jinja source, from `chat_template.jinja` or `tokenizer_config.json`
 * @throws {ChatTemplateError} if the template cannot be parsed, there are no messages, or the template rejects them
 */
export function renderChat(template: string, messages: readonly Message[], options: ChatOptions = {}): string {
  const parsed = parse(template);
  if (messages.length === 0) {
    throw new ChatTemplateError('render', 'messages: expected at least one, found none. Pass the conversation.');
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
    throw new ChatTemplateError('render', messageOf(error), { cause: error });
  }
}

let latest: { readonly source: string; readonly parsed: Template } | undefined;

/** Parses a template. The latest is cached, because parsing costs more than rendering and all rows share a template. */
function parse(source: string): Template {
  if (latest?.source !== source) {
    try {
      const parsed = new Template(source);
      usePythonStrip(parsed);
      latest = { source, parsed };
    } catch (error) {
      throw new ChatTemplateError('parse', `the chat template is not valid Jinja: ${messageOf(error)}`, {
        cause: error,
      });
    }
  }
  return latest.parsed;
}

const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error));
