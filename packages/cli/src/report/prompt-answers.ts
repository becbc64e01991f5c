// The model's answers to a few prompts while it trains, for the terminal, the events and the report.
import type { Tokenizer } from '@wpo/data';
import { loadTokenizerFolder } from '@wpo/data/node';
import { readPrompts } from '@wpo/eval/node';
import { generateBatchTokens } from '@wpo/gemma';
import { printable } from '@wpo/internal/printable';
import type { SampledAnswers } from '@wpo/report';
import { pauseAndCheck, type TrainEvent } from '@wpo/trainer';
import { encode, type Prompt } from '../answers/encode-prompts';
import { fromInput, UserError } from '../errors';
import type { RunPairs } from '../pairs';
import type { TrainConfig } from '../schemas/train';
import { withProgress } from '../terminal/progress';
import type { RunFolder } from '../training/run-folder';
import { readAnswers } from './read-run';
import { promptText, type RecordingOptions, reportFiles, writeJson } from './recordings';

/** Tokens of a prompt and of its answer: what they take must be small beside a step of training. */
const MAX_PROMPT = 512;
export const MAX_ANSWER = 96;

/** A prompt that is answered during the run. */
interface AnsweredPrompt {
  readonly ids: ArrayLike<number>;
  readonly text: string;
  /** Whether it is one of `eval_prompts`, which are answered every `eval_steps` steps and printed. */
  readonly isOwn: boolean;
}

/** What a run has before its model is loaded. */
export interface PromptSources {
  /** With the folder of a model that is on this machine. */
  readonly config: TrainConfig;
  readonly pairs: RunPairs;
}

/** Answers prompts with greedy decoding, and keeps the answers in the run's folder. */
export class PromptAnswers {
  private constructor(
    private readonly tokenizer: Tokenizer,
    private readonly prompts: readonly AnsweredPrompt[],
    private answers: readonly SampledAnswers[],
  ) {}

  /**
   * Reads the prompts: those of `eval_prompts`, and the first held-out ones.
   *
   * @param earlier answers of earlier starts of this run
   * @throws {UserError} for a prompt of `eval_prompts` that is too long, or a file that cannot be read
   */
  static async open({ config, pairs }: PromptSources, earlier: readonly SampledAnswers[]): Promise<PromptAnswers> {
    const text = await loadTokenizerFolder(config.modelNameOrPath);
    const prompts = await answeredPrompts({ config, pairs }, text);
    const kept = prompts.map(
      (prompt) => earlier.find((one) => one.prompt === prompt.text) ?? { prompt: prompt.text, answers: [] },
    );
    return new PromptAnswers(text.tokenizer, prompts, kept);
  }

  /** Answers all prompts that have no answer at this step. @throws the reason of the signal */
  async recordAll(options: RecordingOptions, step: number): Promise<void> {
    const prompts = this.missing(step, this.prompts);
    if (prompts.length === 0) return;
    await withProgress(options.terminal, { label: 'sample', total: prompts.length }, (shown) =>
      this.record(options, step, prompts, (done) => shown.update(done)),
    );
  }

  /** Answers `eval_prompts` where an event says that they are due. @throws the reason of the signal */
  async follow(options: RecordingOptions, event: TrainEvent): Promise<void> {
    if (event.type !== 'start' && event.type !== 'step') return;
    const { step, totalSteps } = event;
    if (event.type === 'start') this.rewind(step);
    const { evalSteps = totalSteps } = options.config;
    if (step === 0 || (step % evalSteps !== 0 && step !== totalSteps)) return;
    const own = this.prompts.filter(({ isOwn }) => isOwn);
    await this.record(options, step, this.missing(step, own));
  }

  /** Drops answers after a step: a killed run may have some of steps that are taken again. */
  private rewind(step: number): void {
    this.answers = this.answers.map(({ prompt, answers }) => ({
      prompt,
      answers: answers.filter((answer) => answer.step <= step),
    }));
  }

  private missing(step: number, prompts: readonly AnsweredPrompt[]): AnsweredPrompt[] {
    const hasAnswer = ({ answers }: SampledAnswers) => answers.some((answer) => answer.step === step);
    return prompts.filter(({ text }) => !hasAnswer(this.answers.find(({ prompt }) => prompt === text)!));
  }

  private async record(
    options: RecordingOptions,
    step: number,
    prompts: readonly AnsweredPrompt[],
    onAnswer: (done: number) => void = () => {},
  ): Promise<void> {
    const { folder, terminal } = options;
    const found: { prompt: string; text: string }[] = [];
    for (const { ids, text: prompt, isOwn } of prompts) {
      const text = await this.answer(options, ids);
      found.push({ prompt, text });
      onAnswer(found.length);
      if (!isOwn) continue;
      const when = step === 0 ? 'before training' : `after step ${step}`;
      terminal.stderr.write(`${when}: ${printable(prompt, 80)} → ${printable(text, 400)}\n`);
    }
    if (found.length === 0) return;
    this.answers = this.answers.map(({ prompt, answers }) => {
      const text = found.find((one) => one.prompt === prompt)?.text;
      if (text === undefined) return { prompt, answers };
      return { prompt, answers: [...answers, { step, text }].sort((a, b) => a.step - b.step) };
    });
    await writeJson(reportFiles(folder).answers, this.answers);
    terminal.onEvent?.({ type: 'answers', step, answers: found });
  }

  private async answer({ model, backend, stop }: RecordingOptions, prompt: ArrayLike<number>): Promise<string> {
    const stopIds = [...model.stopIds, this.tokenizer.tokenId('<end_of_turn>') ?? []].flat();
    const pause = pauseAndCheck(() => stop.signal.throwIfAborted());
    const settings = { temperature: 0, maxNewTokens: MAX_ANSWER, stopIds, kernels: backend.kernels, pause };
    const ids: number[] = [];
    for await (const { token } of generateBatchTokens(model.policy.model, [prompt], settings)) ids.push(token);
    const answer = this.tokenizer.decode(ids, { skipSpecialTokens: true }).replace(/^model\n/, '');
    return `${answer}${ids.length === MAX_ANSWER ? '…' : ''}`;
  }
}

/** The prompts of the keys `eval_prompts` and `eval_prompts_file`. */
async function ownPrompts({ evalPrompts = [], evalPromptsFile }: TrainConfig): Promise<Prompt[]> {
  const listed = evalPrompts.map((prompt, i) => ({ prompt, at: { file: 'eval_prompts', line: i + 1 } }));
  if (evalPromptsFile === undefined) return listed;
  return [...listed, ...(await fromInput(() => readPrompts(evalPromptsFile)))];
}

/** The answers that an earlier start of the run recorded; none where the file is damaged. */
export const earlierAnswers = (folder: RunFolder): Promise<readonly SampledAnswers[]> =>
  readAnswers(folder).catch(() => []);

/** The first held-out prompts, and those of `eval_prompts`. */
async function answeredPrompts(
  { config, pairs }: PromptSources,
  text: Awaited<ReturnType<typeof loadTokenizerFolder>>,
): Promise<AnsweredPrompt[]> {
  const show = (ids: ArrayLike<number>) => promptText(text.tokenizer, ids);
  const { promptFormat, systemRole } = config;
  const own = (await ownPrompts(config)).map((prompt) => {
    const ids = encode(prompt, { ...text, promptFormat, systemRole });
    if (ids.length <= MAX_PROMPT) return { ids, text: show(ids), isOwn: true };
    const where = prompt.at === undefined ? '' : `${prompt.at.file}:${prompt.at.line}: `;
    throw new UserError(`${where}expected a prompt of at most ${MAX_PROMPT} tokens, found ${ids.length}. Shorten it.`);
  });
  const held = pairs.held
    .filter(({ prompt }) => prompt.length <= MAX_PROMPT)
    .slice(0, config.reportSamples)
    .map(({ prompt }) => ({ ids: prompt, text: show(prompt), isOwn: false }));
  return [...new Map([...held, ...own].map((prompt) => [prompt.text, prompt])).values()];
}

/** A prompt of a run, and how often the run answers it. */
export interface PlannedAnswer {
  readonly ids: ArrayLike<number>;
  readonly times: number;
}

/** What a run will answer, as `PromptAnswers` does in a run that is not interrupted. @throws as `PromptAnswers.open` */
export async function plannedAnswers(sources: PromptSources, totalSteps: number): Promise<PlannedAnswer[]> {
  const prompts = await answeredPrompts(sources, await loadTokenizerFolder(sources.config.modelNameOrPath));
  const { evalSteps = totalSteps } = sources.config;
  return prompts.map(({ ids, isOwn }) => ({ ids, times: 1 + (isOwn ? Math.ceil(totalSteps / evalSteps) : 1) }));
}
