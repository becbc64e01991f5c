// Prompts that a chat template rendered before they were written to the file.
import { RowError, type RowLocation } from '../rows/fields';
import type { Message, PreferenceRow } from '../rows/preference-row';
import { strip, stripEnd } from '../rows/python-strip';
import { type PairTexts, render, type TextOptions } from './render';

/** What the model's template puts around an answer. */
interface Frame {
  /** Whether a conversation begins with the beginning-of-text token. */
  readonly hasBos: boolean;
  readonly header: string;
  readonly end: string;
}

/** The texts of a pair whose prompt is rendered. Answers may have the end of their turn, or get it here. */
export function templatedTexts(row: PreferenceRow, options: TextOptions): PairTexts {
  const { prompt, header } = templatedPrompt(row.context, options, row.at);
  const { end } = frameOf(options);
  const ends = [end, options.tokenizer.eosToken ?? ''].map((text) => strip(text)).filter((text) => text !== '');
  const ended = (answer: string) => {
    let text = strip(answer);
    for (let tail = ends.find((one) => text.endsWith(one)); tail; tail = ends.find((one) => text.endsWith(one))) {
      text = stripEnd(text.slice(0, -tail.length));
    }
    return text + end;
  };
  return { prompt, header, chosen: ended(row.chosen), rejected: ended(row.rejected) };
}

/**
 * A rendered prompt, split into what is before the model's turn and the header of it.
 *
 * @throws {RowError} if it is not a single text, or has text before the beginning-of-text token
 */
export function templatedPrompt(
  messages: readonly Message[],
  options: TextOptions,
  at: RowLocation,
): Pick<PairTexts, 'prompt' | 'header'> {
  const [message, ...others] = messages;
  const refuse = (found: string, hint: string): never => {
    throw new RowError(at, { field: 'prompt', expected: 'text that a chat template rendered', found, hint });
  };
  if (message?.role !== 'user' || others.length > 0) {
    return refuse('a list of messages', 'Render it, or leave prompt_format out: the chat template renders messages.');
  }
  const { bosToken } = options.tokenizer;
  const { hasBos, header, end } = frameOf(options);
  const text = message.content;
  if (bosToken !== undefined && text.indexOf(bosToken) > 0) {
    return refuse(`text before ${bosToken}`, 'Put the system text into the rendered prompt, and remove its column.');
  }
  const whole = hasBos && !text.startsWith(bosToken!) ? bosToken + text : text;
  if (header !== '' && whole.endsWith(header)) return { prompt: whole.slice(0, -header.length), header };
  const endsTurn = strip(end) !== '' && stripEnd(whole).endsWith(strip(end));
  return { prompt: whole, header: endsTurn ? header : '' };
}

const USER: Message = { role: 'user', content: 'Question' };
const ANSWER = 'Answer';

let latest: (TextOptions & { readonly frame: Frame }) | undefined;

/** The frame of the latest template is kept, as all rows share it. */
function frameOf(options: TextOptions): Frame {
  const { chatTemplate, tokenizer } = options;
  if (latest !== undefined && latest.chatTemplate === chatTemplate && latest.tokenizer === tokenizer)
    return latest.frame;
  const frame = readFrame(options);
  latest = { chatTemplate, tokenizer, frame };
  return frame;
}

/** Reads the frame from a conversation that the template renders. Without a template, an answer ends in the end-of-text token. */
function readFrame(options: TextOptions): Frame {
  const { chatTemplate, tokenizer } = options;
  if (chatTemplate === undefined) return { hasBos: false, header: '', end: tokenizer.eosToken ?? '' };
  const prompt = render([USER], options, false);
  const opened = render([USER], options, true);
  const whole = render([USER, { role: 'assistant', content: ANSWER }], options, false);
  if (!opened.startsWith(prompt) || !whole.startsWith(opened + ANSWER)) {
    throw new Error(
      'chat template: expected one that adds an answer to a prompt without changing it, found another. It does not show ' +
        'how an answer ends: use the template of the model’s original repository.',
    );
  }
  const hasBos = tokenizer.bosToken !== undefined && prompt.startsWith(tokenizer.bosToken);
  return { hasBos, header: opened.slice(prompt.length), end: whole.slice(opened.length + ANSWER.length) };
}
