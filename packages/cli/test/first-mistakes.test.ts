import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { modelFolder, temporaryFolder } from './golden';
import { WRONG_PLURAL, wpo } from './wpo';

// The mistakes that people make first, each with the whole text that answers it. Read the table in one sitting and ask of each
// line: would I know what to do now? DIR is the working directory, MODEL a model's folder.

const dir = temporaryFolder();
const before = process.cwd();
const pair = { prompt: 'Name a river.', chosen: 'The Danube.', rejected: 'A lake.' };
const files: Readonly<Record<string, string>> = {
  'pairs.jsonl': `${JSON.stringify(pair)}\n`,
  'pairs.csv': 'prompt,chosen,rejected\na,b,c\n',
  'pairs.xlsx': 'PK\x03\x04',
  'many.jsonl': `${JSON.stringify(pair)}\n`.repeat(377),
  'run.yaml': 'model_name_or_path: model\ntrain_file: pairs.jsonl\noutput_dir: out\n',
  'lr.yaml':
    'model_name_or_path: model\ntrain_file: pairs.jsonl\noutput_dir: out\nlr: 1e-5\nbatch_size: 4\nreport_to: wandb\nload_in_4bit: true\n',
  'twice.yaml': 'output_dir: a\noutput_dir: b\n',
  'tab.yaml': 'model_name_or_path: model\n\tbeta: 1\n',
  'stages.yaml': 'output_dir: out\nsample:\n  model: model\n',
  'alias.yaml': 'beta: *fast\n',
  'adapter/adapter_config.json': '{"peft_type": "LORA", "base_model_name_or_path": "google/gemma-2-2b"}',
  'adapter/adapter_model.safetensors': '',
  'gguf/model-q4.gguf': '',
  'empty/README': '',
  'finished/config.yaml': 'beta: 1\n',
};

beforeAll(() => {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(dir, path, '..'), { recursive: true });
    writeFileSync(join(dir, path), text);
  }
  cpSync(modelFolder, join(dir, 'model'), { recursive: true });
  cpSync(modelFolder, join(dir, 'finished/model'), { recursive: true });
  process.chdir(dir);
});
afterAll(() => process.chdir(before));

const MISTAKES: readonly (readonly [command: string, answer: string])[] = [
  [
    'wpo train nothere.yaml',
    'nothere.yaml: expected a YAML file, found no such file. The folder recipes/ has examples.',
  ],
  [
    'wpo train pairs.jsonl',
    'pairs.jsonl: expected a YAML file with the keys of a command, found a file of data. Write the path of data or of a model into a configuration, e.g. `train_file: data.jsonl`; the folder recipes/ has examples.',
  ],
  [
    'wpo train many.jsonl',
    'many.jsonl: expected a YAML file with the keys of a command, found a file of data. Write the path of data or of a model into a configuration, e.g. `train_file: data.jsonl`; the folder recipes/ has examples.',
  ],
  [
    'wpo train pairs.csv',
    'pairs.csv: expected a YAML file with the keys of a command, found a file of data. Write the path of data or of a model into a configuration, e.g. `train_file: data.jsonl`; the folder recipes/ has examples.',
  ],
  ['wpo train empty', 'empty: expected a YAML file, found a folder. Give the path of a file in it.'],
  [
    'wpo train finished',
    'finished: expected a YAML file, found the folder of a run. To continue it: wpo train finished/config.yaml --resume',
  ],
  [
    'wpo train model/config.json',
    'model/config.json: expected a YAML file with the keys of a command, found a file of data. Write the path of data or of a model into a configuration, e.g. `train_file: data.jsonl`; the folder recipes/ has examples.',
  ],
  [
    'wpo train lr.yaml',
    'lr.yaml:4: lr: unknown key. It is called learning_rate here.\n' +
      'lr.yaml:5: batch_size: unknown key. It is called per_device_train_batch_size here.\n' +
      'lr.yaml:7: load_in_4bit: unknown key. Nothing is quantized. `dtype: bfloat16` holds the model under an adapter in 2 bytes per parameter. Remove it.',
  ],
  ['wpo train twice.yaml', 'twice.yaml:2: output_dir: expected each key once, found it twice. Remove one of the two.'],
  [
    'wpo train tab.yaml',
    'tab.yaml:2: this is not valid YAML: Tabs are not allowed as indentation. Check the line’s indentation (spaces) and quotes.',
  ],
  [
    'wpo train alias.yaml',
    'alias.yaml:1: expected an anchor &fast before this alias, found none. Text that begins with * must be in quotes.',
  ],
  [
    'wpo train stages.yaml',
    'stages.yaml:2: sample: unknown key. It is a stage of `wpo run`: use that command with this file.\n' +
      'stages.yaml: model_name_or_path: expected the path of a folder, or org/name on the Hugging Face Hub, found nothing. This key is required: the Gemma-2 model to train: a folder in Hugging Face’s format, or org/name on the Hub.\n' +
      'stages.yaml: train_file: expected the path of a file or folder, a glob, or org/name on the Hugging Face Hub, or a list of {path, share, split, columns}, where share is a number above 0, found nothing. This key is required: preference pairs to train on: a file, folder or glob of JSONL, JSON, CSV, TSV, Parquet or Arrow, or org/name on the Hub; or a list of such sources.',
  ],
  [
    'wpo run run.yaml',
    'run.yaml:1: model_name_or_path: unknown key. It belongs to training: put it under `train:`, or use `wpo train` with this file.\n' +
      'run.yaml:2: train_file: unknown key. It belongs to training: put it under `train:`, or use `wpo train` with this file.\n' +
      'run.yaml: expected at least one of the stages sample, score, pair, weigh, train, eval, found none.',
  ],
  ['wpo train run.yaml --lr 1e-5', '--lr: unknown flag. It is called --learning_rate here.'],
  [
    'wpo train run.yaml --learning_rate fast',
    '--learning_rate: expected a number above 0, at most 1, found the text "fast". The default is 1e-6.',
  ],
  [
    'wpo train run.yaml --learning_rate',
    '--learning_rate: expected a number above 0, at most 1, found nothing. Write the value after it.',
  ],
  [
    'wpo train run.yaml --loss_type wpoo',
    '--loss_type: expected a loss or a list of losses: dpo, sigmoid, hinge, ipo, exo_pair, nca_pair, robust, bco_pair, sppo_hard, aot, aot_unpaired, apo_zero, apo_down, discopop, sft, sigmoid_norm, simpo, orpo, cpo, kto, wpo, found the text "wpoo". Did you mean "wpo"?',
  ],
  ['wpo train run.yaml --clamp=yes', '--clamp: expected true or false, found the text "yes". Write true.'],
  [
    'wpo train run.yaml --max_prompt_length 3000',
    '--max_prompt_length: expected less than max_length, 2048, found 3000. The tokens above it are for the answers.',
  ],
  ['wpo train run.yaml --set learning_rate', '--set learning_rate: expected key=value, e.g. --set learning_rate=1e-6.'],
  [
    'wpo train run.yaml --train_file nothere.jsonl',
    'DIR/nothere.jsonl: expected a JSONL, JSON, CSV, TSV, Parquet or Arrow file, found no such file. Check the path.',
  ],
  [
    'wpo train run.yaml --train_file pairs.xlsx',
    'DIR/pairs.xlsx:1: expected JSONL or JSON as UTF-8 text, found a spreadsheet. Convert it to JSONL, e.g. in Python: pandas.read_excel("pairs.xlsx").to_json("rows.jsonl", orient="records", lines=True).',
  ],
  [
    'wpo train run.yaml --model_name_or_path adapter',
    "DIR/adapter: expected a model's folder in Hugging Face's layout, found an adapter (LoRA) of google/gemma-2-2b, without the model. Give google/gemma-2-2b as the model, and DIR/adapter as its adapter (--adapter, or adapter_name_or_path for training). Or merge them into a model: `wpo merge`.",
  ],
  [
    'wpo train run.yaml --model_name_or_path gguf',
    'DIR/gguf: expected a model\'s folder in Hugging Face\'s layout, found a GGUF file, model-q4.gguf, which llama.cpp reads. Give the original model\'s folder, or convert it with Python: transformers.AutoModelForCausalLM.from_pretrained("DIR/gguf", gguf_file="model-q4.gguf").save_pretrained("NEW_FOLDER"); save the tokenizer there too.',
  ],
  [
    'wpo train run.yaml --model_name_or_path empty',
    "DIR/empty: expected a model's folder in Hugging Face's layout, found no config.json among its files: README. Check the path.",
  ],
  [
    'wpo train run.yaml --model_name_or_path finished',
    "DIR/finished: expected a model's folder in Hugging Face's layout, found a folder that has the model in it. Give DIR/finished/model",
  ],
  [
    'wpo train run.yaml --eval_split 1',
    'eval_split: expected fewer pairs than the 1 of DIR/pairs.jsonl, found 1. Leave some to train on.',
  ],
  [
    'wpo generate --model ./nothere --prompt x',
    "./nothere: expected a model's folder in Hugging Face's layout, found nothing: there is no such folder. Check the path.",
  ],
  [
    'wpo generate --model model/config.json --prompt x',
    "model/config.json: expected a model's folder in Hugging Face's layout, found the file config.json. Give the folder it is in: model",
  ],
  [
    'wpo generate --model finished --prompt x',
    "finished: expected a model's folder in Hugging Face's layout, found a folder that has the model in it. Give finished/model",
  ],
  ['wpo generate --model model', '--prompt: expected exactly one of --prompt and --prompts, found neither.'],
  [
    'wpo weigh --model model --pairs pairs.jsonl --out nofolder/weights.jsonl',
    'nofolder/weights.jsonl: cannot be written: expected a path where a file can be created, found no folder nofolder. Make that folder first, or choose another path.',
  ],
  [
    'wpo weigh --model model --pairs pairs.jsonl',
    '--out: this flag is required: --out <file>\n' + 'Add --help for more.',
  ],
  [
    'wpo weigh --model model --pairs pairs.jsonl --out w.jsonl --beta 0',
    '--beta: expected a number above 0, found "0".\n' + 'Add --help for more.',
  ],
  [
    'wpo inspect nothere.jsonl',
    'nothere.jsonl: expected a JSONL, JSON, CSV, TSV, Parquet or Arrow file, found no such file. Check the path.',
  ],
  [
    'wpo inspect pairs.xlsx',
    'pairs.xlsx:1: expected JSONL or JSON as UTF-8 text, found a spreadsheet. Convert it to JSONL, e.g. in Python: pandas.read_excel("pairs.xlsx").to_json("rows.jsonl", orient="records", lines=True).',
  ],
  [
    'wpo inspect pairs.jsonl --columns question',
    '--columns: expected column names for any of prompt, system, chosen, rejected, id, weight, score_chosen, score_rejected, found "question".\n' +
      'Add --help for more.',
  ],
  [
    'wpo inspect pairs.jsonl --columns prompt=question',
    'pairs.jsonl:1: question: expected the column that was named for "prompt", found the columns "prompt", "chosen", "rejected". Name a column that the rows have.',
  ],
  [
    'wpo inspect model/config.json',
    'model/config.json:1: expected JSONL or JSON as UTF-8 text, found JSON objects over several lines. Write each row on one line (jq -c . config.json), or put all rows into one JSON array.',
  ],
  [
    'wpo sample --model model --prompts pairs.xlsx --out o.jsonl',
    'pairs.xlsx:1: expected JSONL or JSON as UTF-8 text, found a spreadsheet. Convert it to JSONL, e.g. in Python: pandas.read_excel("pairs.xlsx").to_json("rows.jsonl", orient="records", lines=True).',
  ],
  [
    'wpo sample --model model --prompts pairs.jsonl --out o.jsonl --max_tokens 9',
    '--max_tokens: unknown flag. It is called --max-new-tokens here.',
  ],
  [
    'wpo pair --answers pairs.jsonl --out o.jsonl',
    'pairs.jsonl:1: completion: expected text, found nothing. Write the answer; null if there is none.',
  ],
  [
    'wpo score --answers pairs.jsonl --out o.jsonl',
    '--rewards: expected exactly one of --rewards, --endpoint and --judge, found none of them.',
  ],
  ['wpo eval', '--baseline: expected exactly one of --annotations, --pairs, --baseline, found none of them.'],
  [
    'wpo finetune run.yaml',
    'finetune: unknown command. Expected one of run, sample, score, pair, inspect, weigh, train, plan, report, eval, export, generate, chat, merge, push, init, completion, doctor. Did you mean "wpo train"?',
  ],
  [
    'wpo tarin run.yaml',
    'tarin: unknown command. Expected one of run, sample, score, pair, inspect, weigh, train, plan, report, eval, export, generate, chat, merge, push, init, completion, doctor. Did you mean "wpo train"?',
  ],
];

test.each(MISTAKES)('%s', async (command, answer) => {
  const { status, out, err } = await wpo(...command.split(' ').slice(1));
  expect(out).toBe('');
  expect(err.replaceAll(dir, 'DIR').trimEnd()).toBe(answer);
  expect(status).toBe(1);
});

test('no answer has a doubled word, a wrong plural or a stack', () => {
  for (const [, answer] of MISTAKES) {
    expect(answer).not.toMatch(/\b(the|a|an|of|to|is|in|and) \1\b/i);
    expect(answer).not.toMatch(WRONG_PLURAL);
    expect(answer).not.toMatch(/^ +at /m);
  }
});
