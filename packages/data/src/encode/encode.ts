import type { Message, PreferenceRow } from '../rows/preference-row';
import { strip } from '../rows/python-strip';
import { type BadRows, keepGood } from '../rows/read-rows';
import { RowError } from '../rows/row-error';
import { ChatTemplateError, renderChat } from './chat-template';
import type { Tokenizer } from './tokenizer';

/**
 * Where the answer begins and ends. `turn`: what the model samples, up to and with `<end_of_turn>`. `trl`: that and the
 * newline that the template adds. `paper`: the turn's header is part of the answer, which ends in the end-of-text token,
 * as in the code of the WPO paper.
 */
export type Completion = 'paper' | 'trl' | 'turn';

/**
 * How a pair is cut to `maxLength` tokens. `paper`: if the prompt and the longer answer are too long, the prompt loses
 * its front, down to `maxPromptLength`; if they still are, both answers are cut to `maxLength - maxPromptLength`.
 * `keep_start`: the prompt and each answer, as one sequence, are cut at `maxLength`.
 */
export type Truncation = 'paper' | 'keep_start';

/** A pair as token ids. */
export interface TokenLists {
  readonly prompt: readonly number[];
  readonly chosen: readonly number[];
  readonly rejected: readonly number[];
}

/** A pair ready to train on. None of the three is empty. */
export interface EncodedPair {
  readonly id: string;
  readonly prompt: Int32Array;
  readonly chosen: Int32Array;
  readonly rejected: Int32Array;
  /** The row's weight; absent where it has none. */
  readonly weight?: number;
}

/** How text becomes ids: what `loadTokenizerFolder` gives. */
export interface TextOptions {
  readonly tokenizer: Tokenizer;
  /** The Jinja source of the model's chat template. */
  readonly chatTemplate: string | undefined;
}

export interface FormatOptions extends TextOptions {
  /** Default `paper`. */
  readonly completion?: Completion;
  /** Ends an answer in `paper` format. Default: the tokenizer's. */
  readonly eosTokenId?: number | undefined;
}

export interface TruncateOptions {
  /** Default `paper`. */
  readonly truncation?: Truncation;
  /** Most tokens of prompt and answer together. Default 2048. */
  readonly maxLength?: number;
  /** Read by `paper` alone; less than `maxLength`. Default 1800. */
  readonly maxPromptLength?: number;
}

export type EncodeOptions = FormatOptions & TruncateOptions;

const TURN_START = '<start_of_turn>';
const TURN_END = '<end_of_turn>';

/**
 * Token ids of a row in one of the three completion formats, uncut. The prompt is the context rendered by the chat
 * template; answers are stripped as Python's `str.strip` does; prompt and answers are encoded apart, so that no token
 * spans the border.
 *
 * @throws {RowError} where the chat template refuses the row's turns
 * @throws {Error} where the options cannot encode any row: no chat template, no Gemma turn tokens, no end-of-text token
 */
export function formatPair(row: PreferenceRow, options: FormatOptions): TokenLists {
  const { tokenizer, completion = 'paper', eosTokenId = tokenizer.eosTokenId } = options;
  const answer = answerFormat(tokenizer, completion, eosTokenId);
  let prompt: string;
  try {
    prompt = render(row.context, options, completion !== 'paper');
  } catch (error) {
    if (!(error instanceof ChatTemplateError) || error.stage !== 'render') throw error;
    throw new RowError(
      row.at,
      {
        field: 'prompt',
        found: `turns that the chat template refuses (${error.message})`,
        wanted: 'turns that it takes',
        mend: `The roles here are ${row.context.map(({ role }) => role).join(', ')}: change them, or drop the row.`,
      },
      { cause: error },
    );
  }
  return { prompt: tokenizer.encode(prompt), chosen: answer(row.chosen), rejected: answer(row.rejected) };
}

/**
 * Cuts a pair to the length limits; returns it as it is where it fits. `keep_start` leaves answers empty where the
 * prompt alone fills `maxLength`.
 *
 * @throws {RangeError} where the limits make no sense
 */
export function truncatePair(pair: TokenLists, options: TruncateOptions = {}): TokenLists {
  const { truncation, maxLength, maxPromptLength } = checkLimits(options);
  let { prompt, chosen, rejected } = pair;
  if (truncation === 'keep_start') {
    const room = Math.max(0, maxLength - prompt.length);
    return { prompt: prompt.slice(0, maxLength), chosen: chosen.slice(0, room), rejected: rejected.slice(0, room) };
  }
  const longest = Math.max(chosen.length, rejected.length);
  if (prompt.length + longest > maxLength) prompt = prompt.slice(-maxPromptLength);
  if (prompt.length + longest > maxLength) {
    chosen = chosen.slice(0, maxLength - maxPromptLength);
    rejected = rejected.slice(0, maxLength - maxPromptLength);
  }
  return { prompt, chosen, rejected };
}

/**
 * Token ids of a row, formatted and cut: `truncatePair(formatPair(row))`, checked for parts without tokens.
 *
 * @throws {RowError} where the chat template refuses the row, or no token of a part is left
 * @throws {Error} where the options cannot encode any row
 */
export function encodePair(row: PreferenceRow, options: EncodeOptions): EncodedPair {
  const { kept } = encodeLists(row, options);
  return {
    id: row.id,
    prompt: Int32Array.from(kept.prompt),
    chosen: Int32Array.from(kept.chosen),
    rejected: Int32Array.from(kept.rejected),
    ...(row.weight === undefined ? {} : { weight: row.weight }),
  };
}

/** As `encodePair`, giving the row's ids before they are cut, too. */
export function encodeLists(
  row: PreferenceRow,
  options: EncodeOptions,
): { readonly whole: TokenLists; readonly kept: TokenLists } {
  checkLimits(options);
  const whole = formatPair(row, options);
  const kept = truncatePair(whole, options);
  for (const part of ['prompt', 'chosen', 'rejected'] as const) {
    if (kept[part].length > 0) continue;
    throw new RowError(row.at, {
      field: part,
      found: part === 'prompt' ? 'no tokens' : `no room after a prompt of ${kept.prompt.length} tokens or more`,
      wanted: 'at least one token of the prompt and of each answer',
      mend:
        part === 'prompt'
          ? 'Fill the prompt in: the chat template renders it to nothing.'
          : 'Raise max_length, or use truncation "paper", which cuts the prompt first.',
    });
  }
  return { whole, kept };
}

/**
 * Encodes rows as they come, e.g. from `readRows`.
 *
 * @throws {RowError} on a row that cannot be encoded, unless `onBadRow` is `skip`
 */
export async function* encodeRows(
  rows: AsyncIterable<PreferenceRow> | Iterable<PreferenceRow>,
  options: EncodeOptions & BadRows,
): AsyncGenerator<EncodedPair, void, undefined> {
  for await (const row of rows) {
    const pair = keepGood(() => encodePair(row, options), options);
    if (pair !== undefined) yield pair;
  }
}

/**
 * Token ids of a conversation that the model is to continue: rendered by the chat template, ending in the header of the
 * model's turn.
 *
 * @throws {ChatTemplateError} where the template refuses the messages
 */
export function encodePrompt(messages: readonly Message[], options: TextOptions): number[] {
  return options.tokenizer.encode(render(messages, options, true));
}

function render(messages: readonly Message[], { tokenizer, chatTemplate }: TextOptions, addGenerationPrompt: boolean) {
  if (chatTemplate === undefined) {
    throw new Error(
      'found no chat template, wanted the model’s. Put chat_template.jinja into the model’s folder, ' +
        'or "chat_template" into its tokenizer_config.json.',
    );
  }
  const { bosToken, eosToken } = tokenizer;
  return renderChat(chatTemplate, messages, { addGenerationPrompt, bosToken, eosToken });
}

/** A function from an answer's text to its ids. */
function answerFormat(tokenizer: Tokenizer, completion: Completion, eosTokenId: number | undefined) {
  for (const token of [TURN_START, TURN_END]) {
    if (tokenizer.tokenId(token) !== undefined) continue;
    throw new Error(
      `the tokenizer has no token ${token}, and the completion formats are those of Gemma's turns. Use a Gemma tokenizer.`,
    );
  }
  switch (completion) {
    case 'turn':
      return (text: string) => tokenizer.encode(`${strip(text)}${TURN_END}`);
    case 'trl':
      return (text: string) => tokenizer.encode(`${strip(text)}${TURN_END}\n`);
    case 'paper':
      if (eosTokenId === undefined) {
        throw new Error(
          'found no end-of-text token, wanted one to end an answer in "paper" format. ' +
            'Put "eos_token" into tokenizer_config.json, or use completion "turn" or "trl".',
        );
      }
      return (text: string) => [...tokenizer.encode(`${TURN_START}model\n${strip(text)}${TURN_END}\n`), eosTokenId];
    default:
      throw new Error(`found completion ${JSON.stringify(completion)}, wanted "paper", "trl" or "turn".`);
  }
}

function checkLimits({ truncation = 'paper', maxLength = 2048, maxPromptLength = 1800 }: TruncateOptions) {
  if (truncation !== 'paper' && truncation !== 'keep_start') {
    throw new RangeError(`found truncation ${JSON.stringify(truncation)}, wanted "paper" or "keep_start".`);
  }
  if (!Number.isSafeInteger(maxLength) || maxLength < 2) {
    throw new RangeError(
      `found max_length ${maxLength}, wanted an integer of at least 2: one token of the prompt and one of the answer.`,
    );
  }
  if (truncation === 'paper') {
    if (!Number.isSafeInteger(maxPromptLength) || maxPromptLength < 1 || maxPromptLength >= maxLength) {
      throw new RangeError(
        `found max_prompt_length ${maxPromptLength} with max_length ${maxLength}, wanted an integer from 1 to ` +
          `${maxLength - 1}: truncation "paper" leaves answers max_length - max_prompt_length tokens.`,
      );
    }
  }
  return { truncation, maxLength, maxPromptLength };
}
