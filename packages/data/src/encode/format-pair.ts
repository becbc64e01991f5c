import { RowError } from '../rows/fields';
import type { Message, PreferenceRow } from '../rows/preference-row';
import { strip } from '../rows/python-strip';
import { ChatTemplateError, renderChat } from './chat-template';
import type { Tokenizer } from './tokenizer';

/**
 * Which tokens belong to an answer, and so count in its log-probability.
 *
 * - `paper`: the header of the model's turn, the text, `<end_of_turn>\n` and the end-of-text token, as in the code of
 *   the WPO paper (https://github.com/wzhouad/WPO).
 * - `trl`: as in TRL 1.16. Prompt and prompt plus answer are each tokenized as a whole, and both answers start at the
 *   first token at which either of them differs from the prompt. Where prompt, chosen and rejected are plain strings, no
 *   chat template is applied and the answers end in the end-of-text token.
 * - `turn`: the text and `<end_of_turn>`, which are the tokens that the model itself generates.
 */
export type Completion = 'paper' | 'trl' | 'turn';

/** A pair as token ids. */
export interface TokenLists {
  readonly prompt: readonly number[];
  readonly chosen: readonly number[];
  readonly rejected: readonly number[];
}

/** The tokenizer and chat template of a model, as `loadTokenizerFolder` returns them. */
export interface TextOptions {
  readonly tokenizer: Tokenizer;
  /** The Jinja source. Undefined for a model without one, such as a base model; encoding a conversation then fails. */
  readonly chatTemplate: string | undefined;
}

export interface FormatOptions extends TextOptions {
  /** Default `paper`. */
  readonly completion?: Completion;
  /** The token that ends an answer in `paper` format. Default: the tokenizer's end-of-text token. */
  readonly eosTokenId?: number | undefined;
}

const TURN_START = '<start_of_turn>';
const TURN_END = '<end_of_turn>';

/**
 * Token ids of a row in one of the three completion formats, before truncation. `paper` and `turn` strip answers as
 * Python's `str.strip` does and tokenize prompt and answer separately, so that no token contains parts of both.
 *
 * @throws {RowError} if the chat template rejects the row's messages
 * @throws {Error} if the options cannot encode any row: no chat template, no Gemma turn tokens, no end-of-text token
 */
export function formatPair(row: PreferenceRow, options: FormatOptions): TokenLists {
  const { tokenizer, completion = 'paper', eosTokenId = tokenizer.eosTokenId } = options;
  if (completion === 'trl') return formatLikeTrl(row, options);
  const encodeAnswer = answerEncoder(tokenizer, completion, eosTokenId);
  const prompt = renderRow(row, row.context, options, completion !== 'paper');
  return { prompt: tokenizer.encode(prompt), chosen: encodeAnswer(row.chosen), rejected: encodeAnswer(row.rejected) };
}

/**
 * Token ids of a conversation for the model to continue: rendered by the chat template, with the header of the model's
 * turn at the end.
 *
 * @throws {ChatTemplateError} if the template rejects the messages
 */
export function encodePrompt(messages: readonly Message[], options: TextOptions): number[] {
  return options.tokenizer.encode(render(messages, options, true));
}

function answerEncoder(
  tokenizer: Tokenizer,
  completion: Exclude<Completion, 'trl'>,
  eosTokenId: number | undefined,
): (text: string) => number[] {
  for (const token of [TURN_START, TURN_END]) {
    if (tokenizer.tokenId(token) !== undefined) continue;
    throw new Error(
      `the tokenizer has no token ${token}, which completion ${JSON.stringify(completion)} needs. ` +
        'Use a Gemma tokenizer, or completion "trl", which works with any chat template.',
    );
  }
  switch (completion) {
    case 'turn':
      return (text) => tokenizer.encode(`${strip(text)}${TURN_END}`);
    case 'paper':
      if (eosTokenId === undefined) throw noEosToken(completion);
      return (text) => [...tokenizer.encode(`${TURN_START}model\n${strip(text)}${TURN_END}\n`), eosTokenId];
    default:
      throw new Error(`completion: expected "paper", "trl" or "turn", found ${JSON.stringify(completion)}.`);
  }
}

/**
 * The ids of TRL 1.16's DPOTrainer (trl/trainer/dpo_trainer.py, `tokenize_fn` in `_prepare_dataset`). The last token of
 * the prompt may merge with the first of an answer; that token then belongs to both answers, and the prompt ends before it.
 */
function formatLikeTrl(row: PreferenceRow, options: FormatOptions): TokenLists {
  const [prompt, chosen, rejected] = row.plainText ? encodeText(row, options) : encodeConversation(row, options);
  const length = Math.min(commonPrefixLength(prompt, chosen), commonPrefixLength(prompt, rejected));
  return { prompt: prompt.slice(0, length), chosen: chosen.slice(length), rejected: rejected.slice(length) };
}

type Sequences = [prompt: number[], promptAndChosen: number[], promptAndRejected: number[]];

function encodeConversation(row: PreferenceRow, options: TextOptions): Sequences {
  const encode = (messages: readonly Message[], addGenerationPrompt: boolean) =>
    options.tokenizer.encode(renderRow(row, messages, options, addGenerationPrompt));
  const answered = (content: string) => encode([...row.context, { role: 'assistant', content }], false);
  return [encode(row.context, true), answered(row.chosen), answered(row.rejected)];
}

/** TRL applies no chat template to plain text. It adds the tokenizer's special tokens, and ends each answer in EOS. */
function encodeText({ context, chosen, rejected }: PreferenceRow, { tokenizer }: TextOptions): Sequences {
  const eos = tokenizer.eosToken;
  if (eos === undefined) throw noEosToken('trl');
  const prompt = context[0]!.content;
  const encode = (text: string) => tokenizer.encode(text, { addSpecialTokens: true });
  const answered = (answer: string) => encode(prompt + (answer.endsWith(eos) ? answer : answer + eos));
  return [encode(prompt), answered(chosen), answered(rejected)];
}

function commonPrefixLength(a: readonly number[], b: readonly number[]): number {
  let length = 0;
  while (length < a.length && a[length] === b[length]) length += 1;
  return length;
}

/** Renders a row's messages. If the chat template rejects them, throws an error that names the row. */
function renderRow(
  { at }: PreferenceRow,
  messages: readonly Message[],
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
        hint: `The roles here are ${messages.map(({ role }) => role).join(', ')}: change them, or drop the row.`,
      },
      { cause: error },
    );
  }
}

function render(messages: readonly Message[], { tokenizer, chatTemplate }: TextOptions, addGenerationPrompt: boolean) {
  if (chatTemplate === undefined) {
    throw new Error(
      'chat template: expected a Jinja template, found none. Put chat_template.jinja into the model’s folder, ' +
        'or "chat_template" into its tokenizer_config.json.',
    );
  }
  const { bosToken, eosToken } = tokenizer;
  return renderChat(chatTemplate, messages, { addGenerationPrompt, bosToken, eosToken });
}

const noEosToken = (completion: Completion) =>
  new Error(
    `the tokenizer has no end-of-text token, which ends an answer with completion "${completion}". ` +
      'Put "eos_token" into tokenizer_config.json, or use completion "turn".',
  );
