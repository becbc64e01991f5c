import { describe } from '@wpo/internal/describe';
import { RowError, type RowLocation } from '../rows/fields';
import type { Message, PreferenceRow } from '../rows/preference-row';
import { strip, stripEnd } from '../rows/python-strip';
import { type PairTexts, render, renderRow, type TextOptions } from './render';
import { templatedPrompt, templatedTexts } from './templated';

/**
 * Which tokens of the rendered conversation belong to an answer, and so count in its log-probability.
 *
 * - `paper`: the header of the model's turn, the text, the end of the turn, and the end-of-text token; with Gemma's template
 *   `<start_of_turn>model\n`, text, `<end_of_turn>\n<eos>`, as in the code of the WPO paper
 *   (https://github.com/wzhouad/WPO).
 * - `trl`: as in TRL 1.16. Prompt and prompt plus answer are each tokenized as a whole, and both answers start at the
 *   first token at which either of them differs from the prompt. Where prompt, chosen and rejected are plain strings, no
 *   chat template is applied and the answers end in the end-of-text token.
 * - `turn`: the text and the token that ends the turn, which are the tokens that the model itself generates.
 */
export type Completion = 'paper' | 'trl' | 'turn';

/**
 * What a prompt is:
 *
 * - `messages`: text, which is one user message, or a list of messages. The chat template renders it.
 * - `templated`: text that a chat template rendered already. It is tokenized as it is, with the beginning-of-text token if
 *   the model's template would begin with it and the text does not. If it ends with the user's turn, the header of the
 *   model's turn follows.
 */
export type PromptFormat = 'messages' | 'templated';

/** A pair as token ids. */
export interface TokenLists {
  readonly prompt: readonly number[];
  readonly chosen: readonly number[];
  readonly rejected: readonly number[];
}

export interface FormatOptions extends TextOptions {
  /** Default `paper`. */
  readonly completion?: Completion;
  /** Default `messages`. */
  readonly promptFormat?: PromptFormat | undefined;
  /** The token that ends an answer in `paper` format. Default: the tokenizer's end-of-text token. */
  readonly eosTokenId?: number | undefined;
}

/**
 * Token ids of a row in one of the three completion formats, before truncation. `paper` and `turn` strip answers as
 * Python's `str.strip` does and tokenize prompt and answer separately, so that no token contains parts of both. Prompt and
 * answer come from one rendering of the chat template, so that they fit together with any template.
 *
 * @throws {RowError} if the chat template rejects the row's messages, or changes them when an answer follows
 * @throws {Error} if the options cannot encode any row: no chat template, no end-of-text token
 */
export function formatPair(row: PreferenceRow, options: FormatOptions): TokenLists {
  const { tokenizer, completion = 'paper', eosTokenId = tokenizer.eosTokenId } = options;
  if (!['paper', 'trl', 'turn'].includes(completion)) {
    throw new Error(`completion: expected "paper", "trl" or "turn", found ${describe(completion)}.`);
  }
  if (completion === 'paper' && eosTokenId === undefined) throw noEosToken(completion);
  if (completion === 'trl') return formatLikeTrl(row, options);
  const texts = options.promptFormat === 'templated' ? templatedTexts(row, options) : renderedTexts(row, options);
  const encodeAnswer = (text: string) => {
    if (completion === 'turn') return tokenizer.encode(stripEnd(text));
    const ids = tokenizer.encode(texts.header + text);
    return ids.at(-1) === eosTokenId ? ids : [...ids, eosTokenId!];
  };
  return {
    prompt: tokenizer.encode(completion === 'paper' ? texts.prompt : texts.prompt + texts.header),
    chosen: encodeAnswer(texts.chosen),
    rejected: encodeAnswer(texts.rejected),
  };
}

function renderedTexts({ context, chosen, rejected, at }: PreferenceRow, options: TextOptions): PairTexts {
  const prompt = renderRow(context, at, options, false);
  const opened = renderRow(context, at, options, true);
  if (!opened.startsWith(prompt)) throw templateFault(at, 'prompt', 'other text before it');
  const answered = (field: 'chosen' | 'rejected', text: string) => {
    const content = strip(text);
    const whole = renderRow([...context, { role: 'assistant', content }], at, options, false);
    if (!whole.startsWith(opened)) throw templateFault(at, field, 'other text before the answer');
    const answer = whole.slice(opened.length);
    if (!answer.includes(content)) throw templateFault(at, field, 'another text');
    return answer;
  };
  return {
    prompt,
    header: opened.slice(prompt.length),
    chosen: answered('chosen', chosen),
    rejected: answered('rejected', rejected),
  };
}

const templateFault = (at: RowLocation, field: string, found: string) =>
  new RowError(at, {
    field,
    expected: 'a chat template that adds the answer to the prompt without changing either',
    found: `one that renders ${found}`,
    hint: 'Use the template of the model’s original repository, drop the row, or set prompt_format to "templated".',
  });

/**
 * The ids of TRL 1.16's DPOTrainer (trl/trainer/dpo_trainer.py, `tokenize_fn` in `_prepare_dataset`). The last token of
 * the prompt may merge with the first of an answer; that token then belongs to both answers, and the prompt ends before it.
 */
function formatLikeTrl(row: PreferenceRow, options: FormatOptions): TokenLists {
  const [prompt, chosen, rejected] = encodeLikeTrl(row, options);
  const length = Math.min(commonPrefixLength(prompt, chosen), commonPrefixLength(prompt, rejected));
  return { prompt: prompt.slice(0, length), chosen: chosen.slice(length), rejected: rejected.slice(length) };
}

type Sequences = [prompt: number[], promptAndChosen: number[], promptAndRejected: number[]];

function encodeLikeTrl(row: PreferenceRow, options: FormatOptions): Sequences {
  const { tokenizer, promptFormat } = options;
  if (promptFormat === 'templated') {
    const { prompt, header, chosen, rejected } = templatedTexts(row, options);
    const start = prompt + header;
    return [tokenizer.encode(start), tokenizer.encode(start + chosen), tokenizer.encode(start + rejected)];
  }
  if (row.plainText) return encodeText(row, options);
  const encode = (messages: readonly Message[], addGenerationPrompt: boolean) =>
    tokenizer.encode(renderRow(messages, row.at, options, addGenerationPrompt));
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

/**
 * Token ids of a conversation for the model to continue: rendered by the chat template, with the header of the model's
 * turn at the end.
 *
 * @param at where the conversation is from
 * @throws {RowError} if the template rejects the messages and `at` is given
 * @throws {ChatTemplateError} if the template rejects the messages
 */
export function encodePrompt(
  messages: readonly Message[],
  options: TextOptions & Pick<FormatOptions, 'promptFormat'>,
  at?: RowLocation,
): number[] {
  if (options.promptFormat === 'templated') {
    const { prompt, header } = templatedPrompt(messages, options, at ?? { file: 'prompt', line: 1 });
    return options.tokenizer.encode(prompt + header);
  }
  return options.tokenizer.encode(
    at === undefined ? render(messages, options, true) : renderRow(messages, at, options, true),
  );
}

function commonPrefixLength(a: readonly number[], b: readonly number[]): number {
  let length = 0;
  while (length < a.length && a[length] === b[length]) length += 1;
  return length;
}

const noEosToken = (completion: Completion) =>
  new Error(
    `the tokenizer has no end-of-text token, which ends an answer with completion "${completion}". ` +
      'Put "eos_token" into tokenizer_config.json, or use completion "turn".',
  );
