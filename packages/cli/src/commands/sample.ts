import { isDeepStrictEqual } from 'node:util';
import { answerKey, type NamedPrompt, type SampledRow, type SampleRequest, sampleAnswers } from '@wpo/eval';
import { type FileRow, readPrompts, serverSampler } from '@wpo/eval/node';
import { describe } from '@wpo/internal/describe';
import * as v from 'valibot';
import { AnswerCheck } from '../answers/answer-check';
import { type LocalSamplerOptions, localSampler } from '../answers/local-sampler';
import { runRowsTask, type TaskControls } from '../answers/resumable-rows';
import { connect } from '../answers/server';
import { adapterIn, localModel } from '../downloads';
import { UserError } from '../errors';
import { roundingOf } from '../models';
import { checkFlags } from '../schemas/flags';
import { type SampleConfig, sampleSchema } from '../schemas/sample';
import { type StopSignal, withSignals } from '../terminal/signals';
import { processTerminal, type Terminal } from '../terminal/terminal';

/** A row of the answers file: an answer and its sampling settings. */
export interface SampleRow extends SampledRow, Settings {}

interface Settings {
  readonly temperature: number;
  readonly top_p: number;
  readonly max_new_tokens: number;
  /** Absent if the chat template rendered the prompts. */
  readonly prompt_format?: 'templated';
  readonly system_role?: 'merge';
  /** Absent unless weights were rounded to bfloat16. */
  readonly dtype?: 'bfloat16';
  /** Absent unless products were of bfloat16. */
  readonly precision?: 'bfloat16';
  /** Fields that were added to the requests to a server. */
  readonly request?: Readonly<Record<string, unknown>>;
}

/** `wpo sample`: answers each prompt once per seed. Returns the exit status. */
export async function sample(config: SampleConfig, terminal: Terminal = processTerminal()): Promise<number> {
  checkFlags(sampleSchema, config);
  const seeds = config.seeds.slice(0, config.perPrompt);
  const prompts = promptsById(await readPrompts(config.prompts), config.prompts);
  // before signals are handled, so that Ctrl-C stops a download at once
  const folder = config.endpoint === undefined ? await localModel(config.model!, terminal) : undefined;
  const adapter = await adapterIn(config.adapter, terminal);
  const { temperature, topP: top_p, maxNewTokens: max_new_tokens, request } = config;
  const settings: Settings = {
    temperature,
    top_p,
    max_new_tokens,
    ...(config.promptFormat === 'templated' && { prompt_format: config.promptFormat }),
    ...(config.systemRole === 'merge' && { system_role: config.systemRole }),
    ...roundingOf(config),
    ...(request && { request }),
  };
  const check = new AnswerCheck();
  return withSignals(terminal, async (stop) => {
    const { source, open } = await samplerOf(
      config,
      folder === undefined ? undefined : { ...config, model: folder, adapter },
      { prompts: [...prompts.values()], perPrompt: seeds.length, terminal },
      stop,
    );
    const keyOf = (prompt_id: string, seed: number) => answerKey({ prompt_id, source, seed });
    const task = {
      label: 'sample',
      rows: 'answers',
      out: config.out,
      expectedKeys: new Set([...prompts.keys()].flatMap((id) => seeds.map((seed) => keyOf(id, seed)))),
      keyOf(row: FileRow) {
        const own = ownRowIn(row, prompts, { source, ...settings });
        check.add(own);
        return answerKey(own);
      },
      async *work({ existingKeys, ...controls }: TaskControls) {
        const sampler = await open();
        const { sample, batchSize, concurrency } = sampler;
        const isDone = ({ prompt_id, seed }: SampleRequest) => existingKeys.has(keyOf(prompt_id, seed));
        try {
          const options = { prompts: sampler.order([...prompts.values()]), seeds, source, sample, isDone };
          for await (const row of sampleAnswers({ ...options, batchSize, concurrency, ...controls })) {
            check.add(row);
            yield { ...row, ...settings } satisfies SampleRow;
          }
        } finally {
          sampler.dispose();
        }
      },
    };
    const status = await runRowsTask(task, stop, terminal);
    for (const line of check.report(settings)) terminal.stderr.write(`${line}\n`);
    return status;
  });
}

type LocalModel = Omit<LocalSamplerOptions, 'prompts' | 'promptsFile' | 'answersPerPrompt' | 'terminal' | 'signal'>;

interface LocalWork {
  readonly prompts: readonly NamedPrompt[];
  readonly perPrompt: number;
  readonly terminal: Terminal;
}

/**
 * Returns the model's name for the rows, and a function that loads the model or connects to the server. The function is
 * called only if an answer is missing.
 *
 * @param local the local model and how it samples; undefined for a server
 */
async function samplerOf(
  config: SampleConfig,
  local: LocalModel | undefined,
  { prompts, perPrompt, terminal }: LocalWork,
  stop: StopSignal,
) {
  const { endpoint: url, model, source = config.adapter ?? model } = config;
  if (local !== undefined) {
    return {
      source: source!,
      open: () =>
        localSampler({
          ...local,
          prompts,
          promptsFile: config.prompts,
          answersPerPrompt: perPrompt,
          terminal,
          signal: stop.signal,
        }),
    };
  }
  const endpoint = connect({ ...config, model, url: url! }, stop, terminal);
  return { source: source ?? (await endpoint.model()), open: async () => serverSampler(endpoint, config) };
}

/** Prompts by id. The file may repeat a prompt. */
function promptsById(prompts: readonly NamedPrompt[], path: string): Map<string, NamedPrompt> {
  const byId = new Map<string, NamedPrompt>();
  for (const prompt of prompts) {
    const before = byId.get(prompt.prompt_id) ?? prompt;
    if (!samePrompt(before, prompt)) {
      throw new UserError(
        `${path}: expected a unique prompt_id for each prompt, found two prompts with "${prompt.prompt_id}". ` +
          'Give one of them another prompt_id.',
      );
    }
    byId.set(prompt.prompt_id, before);
  }
  return byId;
}

const samePrompt = (a: { prompt: unknown }, b: { prompt: unknown }) =>
  JSON.stringify(a.prompt) === JSON.stringify(b.prompt);

const ownRow = v.object({
  prompt_id: v.string(),
  prompt: v.unknown(),
  completion: v.string(),
  source: v.string(),
  seed: v.number(),
  temperature: v.number(),
  top_p: v.number(),
  max_new_tokens: v.number(),
  prompt_format: v.optional(v.literal('templated')),
  system_role: v.optional(v.literal('merge')),
  dtype: v.optional(v.literal('bfloat16')),
  precision: v.optional(v.literal('bfloat16')),
  request: v.optional(v.record(v.string(), v.unknown())),
});

/**
 * A row of the file as an answer.
 *
 * @throws {UserError} if the row is not from this command, or has other settings or another prompt
 */
function ownRowIn(
  { row, at }: FileRow,
  prompts: ReadonlyMap<string, NamedPrompt>,
  settings: Settings & { readonly source: string },
): v.InferOutput<typeof ownRow> {
  const hint = 'Give this run another --out, or the settings of that file.';
  if (!v.is(ownRow, row))
    throw new UserError(`${at}: expected an answer of wpo sample, found another kind of row. ${hint}`);
  for (const [name, expected] of Object.entries({
    prompt_format: undefined,
    system_role: undefined,
    dtype: undefined,
    precision: undefined,
    request: undefined,
    ...settings,
  })) {
    const found = row[name as keyof typeof settings];
    if (isDeepStrictEqual(found, expected)) continue;
    throw new UserError(`${at}: ${name}: expected ${shown(expected)}, found ${shown(found)}. ${hint}`);
  }
  const prompt = prompts.get(row.prompt_id);
  if (prompt !== undefined && !samePrompt(prompt, row)) {
    throw new UserError(
      `${at}: prompt: expected the prompt "${row.prompt_id}" of the prompts file, found another text. ${hint}`,
    );
  }
  return row;
}

const shown = (setting: unknown): string =>
  setting === undefined ? 'none' : typeof setting === 'object' ? describe(setting) : String(setting);
