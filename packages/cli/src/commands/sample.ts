import { answerKey, type NamedPrompt, type SampledRow, type SampleRequest, sampleAnswers } from '@wpo/eval';
import { createEndpoint, serverSampler } from '@wpo/eval/node';
import * as v from 'valibot';
import { UserError } from '../errors';
import { readNamedPrompts } from '../prompts';
import type { FileRow } from '../rows-file';
import { localSampler } from '../sampling/local';
import { checkFlags } from '../schemas/flags';
import { type SampleConfig, sampleSchema } from '../schemas/sample';
import { runStage, type StageControls } from '../stage';
import { type Stop, withStop } from '../stop';
import type { Terminal } from '../terminal';

/** A row of the answers file: an answer, and the settings by which it was drawn. */
export interface SampleRow extends SampledRow, Settings {}

interface Settings {
  readonly temperature: number;
  readonly top_p: number;
  readonly max_new_tokens: number;
}

/** `wpo sample`: answers each prompt by each seed. Returns the exit status. */
export async function sample(given: SampleConfig, terminal: Terminal = process): Promise<number> {
  checkFlags(sampleSchema, given);
  const seeds = given.seeds.slice(0, given.perPrompt);
  const prompts = oneOfEach(await readNamedPrompts(given.prompts), given.prompts);
  const settings = { temperature: given.temperature, top_p: given.topP, max_new_tokens: given.maxNewTokens };
  return withStop(terminal, async (stop) => {
    const { source, open } = await openerOf(given, stop);
    const keyOf = (prompt_id: string, seed: number) => answerKey({ prompt_id, source, seed });
    const stage = {
      label: 'sample',
      rows: 'answers',
      out: given.out,
      wanted: new Set([...prompts.keys()].flatMap((id) => seeds.map((seed) => keyOf(id, seed)))),
      keyOf: (row: FileRow) => keyOfOwn(row, prompts, { source, ...settings }),
      async *work({ there, ...heed }: StageControls) {
        const sampler = await open();
        const { sample, batchSize, concurrency } = sampler;
        const done = ({ prompt_id, seed }: SampleRequest) => there.has(keyOf(prompt_id, seed));
        const options = { prompts: sampler.order([...prompts.values()]), seeds, source, sample, done };
        for await (const row of sampleAnswers({ ...options, batchSize, concurrency, ...heed })) {
          yield { ...row, ...settings } satisfies SampleRow;
        }
        sampler.dispose();
      },
    };
    return runStage(stage, stop, terminal);
  });
}

/** The model's name at once, and the model itself where there is something to ask it. */
async function openerOf(given: SampleConfig, { signal }: Stop) {
  const { endpoint: url, model, timeout, retries, source = model } = given;
  if (url !== undefined) {
    const endpoint = createEndpoint({ url, model, timeout: timeout * 1000, retries, signal });
    return { source: source ?? (await endpoint.model()), open: async () => serverSampler(endpoint, given) };
  }
  return { source: source!, open: () => localSampler({ ...given, model: model!, signal }) };
}

/** Prompts by their names, one of each; the same prompt may stand in the file more than once. */
function oneOfEach(prompts: readonly NamedPrompt[], path: string): Map<string, NamedPrompt> {
  const byName = new Map<string, NamedPrompt>();
  for (const prompt of prompts) {
    const before = byName.get(prompt.prompt_id) ?? prompt;
    if (!samePrompt(before, prompt)) {
      throw new UserError(`${path}: found two prompts named "${prompt.prompt_id}", wanted a prompt_id for each.`);
    }
    byName.set(prompt.prompt_id, before);
  }
  return byName;
}

const samePrompt = (a: { prompt: unknown }, b: { prompt: unknown }) =>
  JSON.stringify(a.prompt) === JSON.stringify(b.prompt);

const ownRow = v.object({
  prompt_id: v.string(),
  prompt: v.unknown(),
  source: v.string(),
  seed: v.number(),
  temperature: v.number(),
  top_p: v.number(),
  max_new_tokens: v.number(),
});

/**
 * The key of a row that the file has.
 *
 * @throws {UserError} where the row is none of this command's, or was drawn by other settings or for another prompt
 */
function keyOfOwn(
  { row, at }: FileRow,
  prompts: ReadonlyMap<string, NamedPrompt>,
  settings: Settings & { readonly source: string },
): string {
  const mend = 'Give this run another --out, or the settings of that file.';
  if (!v.is(ownRow, row)) throw new UserError(`${at}: found a row that is no answer of wpo sample. ${mend}`);
  for (const [name, wanted] of Object.entries(settings)) {
    const found = row[name as keyof typeof settings];
    if (found !== wanted) throw new UserError(`${at}: "${name}": found ${found}, wanted ${wanted} as here. ${mend}`);
  }
  const prompt = prompts.get(row.prompt_id);
  if (prompt !== undefined && !samePrompt(prompt, row)) {
    throw new UserError(
      `${at}: "prompt": found another text than the prompts file has for "${row.prompt_id}". ${mend}`,
    );
  }
  return answerKey(row);
}
