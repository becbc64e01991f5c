import { markdownTable } from './reference';
import { yamlKey } from './schema';
import { trainSchema } from './train';
import { becomes, TRL_KEYS } from './trl-keys';
import { formatValue } from './yaml-config';

/** The options of TRL's dataclasses with their defaults, by class. */
export type TrlOptions = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

const SECTIONS: Readonly<Record<string, string>> = {
  DPOConfig: 'Training: DPOConfig',
  ModelConfig: 'Model and adapter: ModelConfig',
  ScriptArguments: 'Data: ScriptArguments',
  DatasetMixtureConfig: 'Mixtures: DatasetMixtureConfig',
};

const OWN = new Map(Object.entries(trainSchema.fields).map(([name, field]) => [yamlKey(name), field]));

/** What becomes of a key, in one sentence. @throws {Error} if nothing says it */
function answer(key: string, value: unknown): string {
  const known = becomes(key);
  if (known !== undefined) return known;
  const field = OWN.get(key);
  if (field === undefined)
    throw new Error(`${key}: expected an answer in trl-keys.ts or a key of wpo train, found none.`);
  const [ours, theirs] = [field.default, value].map((one) =>
    one === undefined || one === null ? '' : formatValue(one),
  );
  return ours === theirs || ours === '' || field.required ? 'the same' : `the same; default here \`${ours}\``;
}

const table = (rows: readonly (readonly string[])[]): string => markdownTable(['key', 'default there', 'here'], rows);

const shown = (value: unknown) =>
  value === null || value === '' ? '' : `\`${typeof value === 'object' ? JSON.stringify(value) : formatValue(value)}\``;

/** `docs/from-trl.md`: every option of TRL and what becomes of it. @param options those of the TRL release that is named */
export function fromTrlPage(options: TrlOptions): string {
  const known = new Set(Object.values(options).flatMap(Object.keys));
  const sections = Object.entries(options).map(([name, keys]) => [
    `## ${SECTIONS[name] ?? name}`,
    table(Object.entries(keys).map(([key, value]) => [`\`${key}\``, shown(value), answer(key, value)])),
  ]);
  const older = TRL_KEYS.filter((key) => !known.has(key)).map((key) => [`\`${key}\``, '', answer(key, undefined)]);
  return [
    '<!-- Written from packages/cli/src/schemas/trl-keys.ts by `npm run reference`. Edit the tables, not this file. -->',
    INTRODUCTION,
    ...sections.flat(),
    '## alignment-handbook, and TRL before 1.0',
    table(older),
  ]
    .join('\n\n')
    .concat('\n');
}

const INTRODUCTION = `# From TRL and alignment-handbook

\`wpo train CONFIG.yaml\` reads three kinds of files:

- a file with [its own keys](cli.md#keys-of-the-yaml-file-of-wpo-train), most of which have TRL’s names;
- a file of TRL 1.16, as \`trl dpo --config\` reads it: it names its data with \`dataset_name\` or \`datasets\`;
- a recipe of alignment-handbook, such as the WPO authors’: it names its data with \`dataset_mixer\` or \`dataset_mixture\`.

\`\`\`sh
wpo plan config.yaml                                   # what becomes of the keys; memory and time of the run
wpo train config.yaml --set model_name_or_path=google/gemma-2-2b-it
\`\`\`

Before a run starts, \`wpo\` prints which keys it reads as which of its own, which it ignores and why, and which defaults of the other
program it takes for keys that the file leaves out. A key that would change what is trained, and has no counterpart, is an error that says
what to do. A key that neither program has is an error too. The \`train\` stage of \`wpo run\` takes wpo’s own keys only.

**What is as there.** A TRL file without \`use_weighting\` trains DPO, as in TRL; WPO is \`use_weighting: true\`. Its answers are tokenized
as in TRL (\`completion: trl\`) and cut at the end (\`truncation: keep_start\`), and products are bfloat16 unless \`bf16\` is \`false\`.
A recipe of alignment-handbook is trained with weights, as the WPO authors’ script does; for DPO add \`--set use_weighting=false\`.

**What is not.** One process takes \`per_device_train_batch_size\` × \`gradient_accumulation_steps\` pairs a step. For a recipe that was made for
8 GPUs, start 8 processes ([scale.md](scale.md)), or set \`num_processes: 8\`, with which fewer take the same steps. Relative paths start from the folder of the file. The order of the
pairs comes from \`seed\`, but is another than PyTorch’s. Checkpoints are \`output_dir/checkpoint-STEP\` as there, and the model is in
\`output_dir/model\`.`;
