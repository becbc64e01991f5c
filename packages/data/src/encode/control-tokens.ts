import type { RowLocation } from '../rows/fields';
import type { Message, PreferenceRow } from '../rows/preference-row';
import { strip } from '../rows/python-strip';
import type { PromptFormat } from './format-pair';
import type { Tokenizer } from './tokenizer';

/** Control tokens in the texts of rows. */
export interface ControlTokens {
  /** Number of rows that have any. */
  readonly rows: number;
  /** The first that were found, each once. */
  readonly tokens: readonly string[];
  /** `file:line` of the first row that has one; undefined if there is none, or it is from no file. */
  readonly first: string | undefined;
}

// Where the tokenizer lacks these, they still show that a text was rendered before, e.g. by ChatML.
const COMMON = ['<bos>', '<eos>', '<start_of_turn>', '<end_of_turn>', '[INST]', '[/INST]'];
/** `<|im_start|>`, `<|eot_id|>` and the like; DeepSeek writes wide bars. */
const BETWEEN_BARS = '<[|｜][\\w▁]{1,40}[|｜]>';

const MAX_NAMED = 5;

/**
 * Counts rows with control tokens in their texts, such as prompts that a chat template rendered already. The tokenizer makes
 * the tokens themselves of them, in addition to those of the chat template.
 */
export class ControlTokenCount {
  private rows = 0;
  private readonly tokens = new Set<string>();
  private first: string | undefined;
  private readonly pattern: RegExp;
  private readonly countPrompts: boolean;

  constructor({ tokenizer, promptFormat }: { readonly tokenizer?: Tokenizer; readonly promptFormat?: PromptFormat }) {
    const all = [...new Set([...COMMON, ...(tokenizer?.controlTokens ?? [])])].sort((a, b) => b.length - a.length);
    const exact = all.map((token) => token.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&'));
    this.pattern = new RegExp([...exact, BETWEEN_BARS].join('|'), 'g');
    this.countPrompts = promptFormat !== 'templated';
  }

  /** Returns whether the row has any. */
  readonly add = ({ context, chosen, rejected, at }: PreferenceRow): boolean =>
    this.count(context, [chosen, rejected], at);

  /** Counts a row without answers. */
  readonly addPrompt = (messages: readonly Message[], at?: RowLocation): boolean => this.count(messages, [], at);

  private count(prompt: readonly Message[], answers: readonly string[], at: RowLocation | undefined): boolean {
    const prompts = this.countPrompts ? prompt.map(({ content }) => content) : [];
    const found = [...prompts, ...answers].flatMap((text) => this.tokensIn(text));
    if (found.length === 0) return false;
    this.rows += 1;
    if (at !== undefined) this.first ??= `${at.file}:${at.line}`;
    for (const token of found) if (this.tokens.size < MAX_NAMED) this.tokens.add(token);
    return true;
  }

  /** A rendered answer may end in the tokens that end its turn. */
  private tokensIn(text: string): string[] {
    const found = [...text.matchAll(this.pattern)];
    if (this.countPrompts) return found.map(([token]) => token);
    let end = text.length;
    for (let last = found.at(-1); last !== undefined; last = found.at(-1)) {
      if (strip(text.slice(last.index + last[0].length, end)) !== '') break;
      end = last.index;
      found.pop();
    }
    return found.map(([token]) => token);
  }

  report(): ControlTokens {
    return { rows: this.rows, tokens: [...this.tokens], first: this.first };
  }
}
