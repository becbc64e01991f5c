import { fingerprint } from '@wpo/eval/node';
import { printable } from '@wpo/internal/printable';
import { count, counted } from '../terminal/format';

/** Finds answers that are of no use for pairs: the same answer under different seeds, and empty answers. */
export class AnswerCheck {
  private readonly prompts = new Map<string, { answers: number; readonly texts: Set<string> }>();
  private answers = 0;
  private empty = 0;

  add({ prompt_id, completion }: { readonly prompt_id: string; readonly completion: string }): void {
    const prompt = this.prompts.get(prompt_id) ?? { answers: 0, texts: new Set<string>() };
    this.prompts.set(prompt_id, prompt);
    prompt.answers += 1;
    prompt.texts.add(fingerprint(completion));
    this.answers += 1;
    if (completion.trim() === '') this.empty += 1;
  }

  /** Lines about what was found. */
  report({ temperature }: { readonly temperature: number }): string[] {
    const several = [...this.prompts].filter(([, { answers }]) => answers > 1);
    const equal = several.filter(([, { answers, texts }]) => texts.size < answers);
    const hint =
      temperature === 0
        ? 'At temperature 0 all seeds give the same answer: use -n 1, or raise --temperature.'
        : 'If the answers are long, the seeds have no effect: raise --temperature, or use a server that accepts `seed`. ' +
          '`transformers serve` samples only if the model’s generation_config.json has "do_sample": true.';
    return [
      ...(equal.length === 0
        ? []
        : [
            `${count(equal.length)} of ${counted(several.length, 'prompt')} got equal answers under different seeds, ` +
              `e.g. "${printable(equal[0]![0], 60)}". ${hint}`,
          ]),
      ...(this.empty === 0
        ? []
        : [
            `${count(this.empty)} of ${counted(this.answers, 'answer')} ${this.empty === 1 ? 'is' : 'are'} empty: the model ended at once, or spent ` +
              '--max-new-tokens on reasoning.',
          ]),
    ];
  }
}
