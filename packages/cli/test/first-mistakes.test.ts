import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { gemma2_27b } from '@wpo/gemma';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { hubServer } from '../../data/test/hub/hub-server';
import { modelFolder, temporaryFolder } from './golden';
import { sparseModel } from './sparse-model';
import { bin, WRONG_PLURAL, wpo } from './wpo';

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
  'semicolons.csv': 'question;good;bad\na;b;c\n',
  'pretty.json': JSON.stringify(pair, null, 2),
  'python.jsonl': "{'prompt': 'a', 'chosen': 'b', 'rejected': 'c'}\n",
  'cut.jsonl': `${JSON.stringify(pair)}\n${JSON.stringify(pair).slice(0, 30)}`,
  'empty.jsonl': '',
  'empty-answer.jsonl': `${JSON.stringify({ ...pair, chosen: '' })}\n`,
  'one-answer.jsonl': '{"instruction": "a", "output": "b"}\n',
  'labels.jsonl': '{"prompt": "a", "completion": "b", "label": true}\n',
  'responses.jsonl': '{"prompt": "a", "responses": ["b", "c"], "scores": [1, 2]}\n',
  'no-rejected.jsonl': '{"prompt": "a", "chosen": "b"}\n',
  'system.jsonl':
    '{"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}], "chosen": "b", "rejected": "c"}\n',
  'values.yaml':
    'model_name_or_path: model\ntrain_file: pairs.jsonl\noutput_dir: out\nlearning_rate: "1e-6"\nbeta: 0\nnum_train_epochs: two\nmax_length: -1\nshuffle: "yes"\nbf16: true\nlearing_rate: 1\n',
  'rank.yaml': 'model_name_or_path: model\ntrain_file: pairs.jsonl\noutput_dir: out\nlora_r: 8\n',
  'both.yaml':
    'model_name_or_path: model\ntrain_file: pairs.jsonl\noutput_dir: out\neval_file: pairs.jsonl\neval_split: 0.1\n',
  'space.yaml': 'model_name_or_path: model\ntrain_file: pairs.jsonl\noutput_dir:out\n',
  'home.yaml': 'model_name_or_path: ~/model\ntrain_file: pairs.jsonl\noutput_dir: out\n',
  'pickle/config.json': '{"model_type": "gemma2"}',
  'pickle/pytorch_model.bin': '',
  'partial/config.json': '{"model_type": "gemma2"}',
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
  cpSync(modelFolder, join(dir, 'llama'), { recursive: true });
  writeFileSync(join(dir, 'llama/config.json'), '{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}');
  cpSync(modelFolder, join(dir, 'nan'), { recursive: true });
  fillWithNaN(join(dir, 'nan/model.safetensors'), 'model.norm.weight');
  symlinkSync(sparseModel(gemma2_27b), join(dir, 'large')); // a copy would fill the holes of its file
  process.chdir(dir);
});
afterAll(() => process.chdir(before));

/** Makes the values of a tensor of float32 NaN. */
function fillWithNaN(path: string, name: string): void {
  const bytes = readFileSync(path);
  const length = Number(bytes.readBigUInt64LE());
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + length)) as Record<
    string,
    { data_offsets: [number, number] }
  >;
  const [start, end] = header[name]!.data_offsets;
  new Float32Array(bytes.buffer, bytes.byteOffset + 8 + length + start, (end - start) / 4).fill(Number.NaN);
  writeFileSync(path, bytes);
}

const MISTAKES: readonly (readonly [command: string, answer: string])[] = [
  [
    'wpo train nothere.yaml',
    'nothere.yaml: expected a YAML file, found no such file. To write one: wpo init --model MODEL --data PAIRS --out run.yaml',
  ],
  [
    'wpo train pairs.jsonl',
    'pairs.jsonl: expected a YAML file with the keys of a command, found a file of data. Write the path of data or of a model into a configuration, e.g. `train_file: data.jsonl`. To write one: wpo init --model MODEL --data PAIRS --out run.yaml',
  ],
  [
    'wpo train many.jsonl',
    'many.jsonl: expected a YAML file with the keys of a command, found a file of data. Write the path of data or of a model into a configuration, e.g. `train_file: data.jsonl`. To write one: wpo init --model MODEL --data PAIRS --out run.yaml',
  ],
  [
    'wpo train pairs.csv',
    'pairs.csv: expected a YAML file with the keys of a command, found a file of data. Write the path of data or of a model into a configuration, e.g. `train_file: data.jsonl`. To write one: wpo init --model MODEL --data PAIRS --out run.yaml',
  ],
  ['wpo train empty', 'empty: expected a YAML file, found a folder. Give the path of a file in it.'],
  [
    'wpo train finished',
    'finished: expected a YAML file, found the folder of a run. To continue it: wpo train finished/config.yaml --resume',
  ],
  [
    'wpo train model/config.json',
    'model/config.json: expected a YAML file with the keys of a command, found a file of data. Write the path of data or of a model into a configuration, e.g. `train_file: data.jsonl`. To write one: wpo init --model MODEL --data PAIRS --out run.yaml',
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
  ['wpo train', 'expected the path of a YAML file after the command, found nothing.\nAdd --help for more.'],
  [
    'wpo train run.yaml pairs.jsonl',
    'train: too many arguments: expected 1, found 2. Put a value that has spaces in quotes.\nAdd --help for more.',
  ],
  [
    'wpo train values.yaml',
    'values.yaml:10: learing_rate: unknown key. Did you mean "learning_rate"? `wpo train --help` lists all keys.\nvalues.yaml:5: beta: expected a number above 0, found 0. The default is 0.1.\nvalues.yaml:7: max_length: expected a whole number of 2 or more, found -1. The default is 2048.\nvalues.yaml:4: learning_rate: expected a number above 0, at most 1, found the text "1e-6". Remove the quotes.\nvalues.yaml:6: num_train_epochs: expected a number above 0, at most 1000000, found the text "two". The default is 1.\nvalues.yaml:8: shuffle: expected true or false, found the text "yes". Write true.',
  ],
  [
    'wpo train rank.yaml',
    'rank.yaml:4: lora_r: expected use_peft: true with it, found 8. Without it, all weights are trained.',
  ],
  [
    'wpo train both.yaml',
    'both.yaml:5: eval_split: expected no value with eval_file, found 0.1. Remove one of the two keys.',
  ],
  [
    'wpo train space.yaml',
    'space.yaml:3: this is not valid YAML: Implicit map keys need to be followed by map values. Write `key: value`, with a space after the colon.',
  ],
  [
    'wpo train home.yaml',
    "DIR/~/model: expected a model's folder in Hugging Face's layout, found nothing: there is no such folder. Write the path of the home folder instead of ~, which only a shell replaces.",
  ],
  [
    'wpo train run.yaml --learning_rate 3',
    '--learning_rate: expected a number above 0, at most 1, found 3. The default is 1e-6.',
  ],
  [
    'wpo train run.yaml --output_dir finished',
    'DIR/finished: expected a folder without a run, found one. Add --resume to continue it, or set output_dir to another folder.',
  ],
  [
    'wpo train run.yaml --train_file semicolons.csv',
    'DIR/semicolons.csv:2: expected "prompt", "chosen" and "rejected", or the columns of UltraFeedback, HH-RLHF, Orca, Alpaca or ShareGPT pairs, found the columns "question", "good", "bad". Name the columns that hold them: columns: {prompt: …, chosen: …, rejected: …}.',
  ],
  [
    'wpo train run.yaml --train_file pretty.json',
    'DIR/pretty.json:1: expected JSONL or JSON as UTF-8 text, found JSON objects over several lines. Write each row on one line (jq -c . pretty.json), or put all rows into one JSON array.',
  ],
  [
    'wpo train run.yaml --train_file python.jsonl',
    "DIR/python.jsonl:1: expected one JSON object, found invalid JSON at column 2, near \"'prompt': 'a', 'chos.... JSON has double quotes: in Python, write rows with json.dumps, not str.",
  ],
  [
    'wpo train run.yaml --train_file cut.jsonl',
    'DIR/cut.jsonl:2: expected one JSON object, found JSON that is cut off. Write each row as one complete JSON object: a whole line of JSONL, or one element of a JSON array.',
  ],
  [
    'wpo train run.yaml --train_file empty.jsonl',
    'DIR/empty.jsonl: expected at least one preference pair, found none. The file has no rows: check the path.',
  ],
  [
    'wpo train run.yaml --train_file empty-answer.jsonl',
    'DIR/empty-answer.jsonl:1: chosen: expected an answer with text, found an empty answer. Fill it in, or drop the row (bad rows can be skipped and counted).',
  ],
  [
    'wpo train run.yaml --train_file one-answer.jsonl',
    'DIR/one-answer.jsonl:1: expected "prompt", "chosen" and "rejected", or the columns of UltraFeedback, HH-RLHF, Orca, Alpaca or ShareGPT pairs, found the columns "instruction", "output". Rows with one answer are for supervised fine-tuning. If a column has another answer to the same prompt: columns: {prompt: …, chosen: …, rejected: …}. If not, `wpo sample` writes answers, and `wpo score` and `wpo pair` make pairs of them.',
  ],
  [
    'wpo train run.yaml --train_file labels.jsonl',
    'DIR/labels.jsonl:1: expected "prompt", "chosen" and "rejected", or the columns of UltraFeedback, HH-RLHF, Orca, Alpaca or ShareGPT pairs, found the columns "prompt", "completion", "label". Rows with a label rate one answer each; a pair has two answers to one prompt, a better and a worse one.',
  ],
  [
    'wpo train run.yaml --train_file responses.jsonl',
    'DIR/responses.jsonl:1: expected "prompt", "chosen" and "rejected", or the columns of UltraFeedback, HH-RLHF, Orca, Alpaca or ShareGPT pairs, found the columns "prompt", "responses", "scores". Of several answers to a prompt, `wpo pair` makes pairs: write one row per answer, {prompt_id, prompt, completion, source, score}.',
  ],
  [
    'wpo train run.yaml --train_file no-rejected.jsonl',
    'DIR/no-rejected.jsonl:1: rejected: expected an answer: text, or a list of {role, content}, found nothing. Give each row "prompt", "chosen" and "rejected".',
  ],
  [
    'wpo train run.yaml --train_file system.jsonl',
    'DIR/system.jsonl:1: prompt: expected messages that the chat template accepts, found messages that it rejects (System role not supported). The roles here are system, user: set system_role to "merge", which puts system turns before the first user message, change them, or drop the row.',
  ],
  [
    'wpo train run.yaml --model_name_or_path pickle',
    'DIR/pickle: expected a model\'s folder in Hugging Face\'s layout, found PyTorch weights in a pickle file, pytorch_model.bin. Weights are read from safetensors only: save the model with Python, transformers.AutoModelForCausalLM.from_pretrained("DIR/pickle").save_pretrained("NEW_FOLDER"); save the tokenizer there too.',
  ],
  [
    'wpo train run.yaml --model_name_or_path llama',
    'DIR/llama/config.json: model_type: expected "gemma2" (only Gemma-2 models are supported), found "llama". Use one, e.g. google/gemma-2-2b-it.',
  ],
  [
    'wpo train run.yaml --model_name_or_path partial',
    "DIR/partial: expected a model's folder in Hugging Face's layout, found no model.safetensors or model.safetensors.index.json beside config.json. Download the weights, or save the model with save_pretrained.",
  ],
  [
    'wpo train run.yaml --use_peft --lora_target_modules q_prj',
    'lora_target_modules: expected names of linear layers of this model (q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj), found ["q_prj"], which chooses none of its 28.',
  ],
  [
    'wpo plan run.yaml --device-memory 80',
    '--device-memory: expected a number above 0 and a unit: GB, GiB, MB, MiB, found "80".\nAdd --help for more.',
  ],
  [
    'wpo weigh --model gpt2 --pairs pairs.jsonl --out w.jsonl',
    "gpt2: expected a model's folder in Hugging Face's layout, found nothing: there is no such folder. Check the path. A name on the Hugging Face Hub has two parts, org/name.",
  ],
  [
    'wpo init --model model --data pairs.jsonl --out run.yaml',
    '--out: expected the path of a YAML file that does not exist, found the file run.yaml. Choose another name, or delete it.',
  ],
  [
    'wpo sample --endpoint localhost:8000 --prompts pairs.jsonl --out o.jsonl',
    'server address: expected an http or https URL, found "localhost:8000". Write it like http://localhost:8000/v1.',
  ],
  [
    'wpo eval --baseline pairs.jsonl --model model --judge http://127.0.0.1:9 --out o',
    'pairs.jsonl:1: output: expected text, found nothing. Use the columns of alpaca_eval: instruction, output, generator, dataset; output_1 and output_2 in annotations.',
  ],
  [
    'wpo merge --model model --adapter model --out merged',
    "model: expected an adapter's folder in PEFT's format (adapter_config.json, adapter_model.safetensors), found a whole model. Give it as the model, without an adapter.",
  ],
  [
    'wpo export model',
    'model: expected the folder of a run with checkpoints (checkpoint-STEP), found none. Give the run’s output_dir.',
  ],
  [
    'wpo report model',
    'model: expected the folder of a run, with a file metrics.jsonl, found none. Give the output_dir of wpo train or of wpo run.',
  ],
  [
    'wpo generate --model model --adapter model --prompt x',
    "model: expected an adapter's folder in PEFT's format (adapter_config.json, adapter_model.safetensors), found a whole model. Give it as the model, without an adapter.",
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

/** Runs a command that must fail, and returns what it says. */
async function refused(command: string): Promise<string> {
  const { status, err } = await wpo(...command.split(' ').slice(1));
  expect(status, err).toBe(1);
  return err.replaceAll(dir, 'DIR').trimEnd();
}

test('weights that are NaN', async () => {
  expect(await refused('wpo train run.yaml --model_name_or_path nan --output_dir nan-run')).toBe(
    'DIR/nan/model.safetensors: tensor "model.norm.weight": expected finite numbers, found NaN at index 0. The file is damaged, or it ' +
      'was saved by a training that diverged: download it again, or use an earlier checkpoint.',
  );
});

test('a model that does not fit in memory', async () => {
  const text = await refused('wpo train run.yaml --model_name_or_path large');
  expect(text).toMatch(/^This run does not fit in memory: expected 4\d\d\.\d GB of memory, found \d+\.\d GB/);
  expect(text).toMatch(/^ {2}weights, float32 +108\.9$/m);
  expect(text).toMatch(/^Settings with which it fits:\n.*use_peft: true/m);
});

test('answers that are equal, and rows in which the columns are swapped', async () => {
  const rows = [{ ...pair, rejected: pair.chosen }, pair].map((row) => ({
    ...row,
    score_chosen: 1,
    score_rejected: 9,
  }));
  writeFileSync('equal.jsonl', rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  const { out } = await wpo('inspect', 'equal.jsonl');
  expect(out).toContain('with two equal answers, which teach nothing');
  expect(out).toContain('whose rejected answer has the higher score');
  const { err } = await wpo(
    'train',
    'run.yaml',
    '--train_file',
    'equal.jsonl',
    '--output_dir',
    'ties',
    '--max_steps',
    '1',
  );
  expect(err).toContain(
    '1 of 2 pairs has equal chosen and rejected answers, of which a preference loss learns nothing. The first is "',
  );
});

test('a run of other settings in the folder, and --resume', async () => {
  const train = 'wpo train run.yaml --output_dir ties --train_file equal.jsonl --max_steps 1';
  expect(await refused(`${train} --resume --beta 0.5`)).toBe(
    'DIR/ties: expected the configuration of the run in this folder, found changes: beta was 0.1 and is now 0.5. To resume the run use ' +
      'DIR/ties/config.yaml; for a new run set output_dir to another folder.',
  );
});

test('a server that is not running, or wants a key', async () => {
  const server = createServer((_, response) => response.writeHead(401).end('{"error": {"message": "no key"}}'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const sample = `wpo sample --endpoint ${url} --prompts pairs.jsonl --out o.jsonl --retries 0`;
  expect(await refused(sample)).toMatch(/401[\s\S]*WPO_API_KEY/);
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  expect(await refused(sample)).toMatch(
    /^http:\/\/127\.0\.0\.1:\d+\/v1\/models: expected a reply, found .*ECONNREFUSED.*Check that the server is running/,
  );
});

describe('a name on the Hub', () => {
  let server: Awaited<ReturnType<typeof hubServer>>;
  beforeAll(async () => {
    server = await hubServer({
      'org/gated': { files: { 'config.json': Buffer.from('{}'), 'model.safetensors': Buffer.from('') }, gated: true },
    });
    vi.stubEnv('HF_ENDPOINT', server.url);
    vi.stubEnv('HF_HOME', join(dir, 'hub'));
    vi.stubEnv('HF_TOKEN', '');
  });
  afterAll(async () => {
    vi.unstubAllEnvs();
    await server.close();
  });

  test('with a typing error', async () => {
    const text = await refused('wpo train run.yaml --model_name_or_path org/gemma-2-2b-itt');
    expect(text).toMatch(
      /^hf:\/\/org\/gemma-2-2b-itt: the hub answered 40\d: there is no such model, or it is private/,
    );
    expect(text).toContain('No HF_TOKEN is set: make a token at http');
  });

  test('of a model whose terms were not accepted', async () => {
    const text = await refused('wpo train run.yaml --model_name_or_path org/gated');
    expect(text).toMatch(/access must be granted: accept the terms at http\S+org\/gated/);
    expect(text).toContain('No HF_TOKEN is set: make a token at http');
  });
});

test('a Node that is too old', () => {
  const old = "data:text/javascript,Object.defineProperty(process.versions, 'node', { value: '18.20.0' })";
  const { status, stderr } = spawnSync(process.execPath, ['--import', old, bin, '--version'], { encoding: 'utf8' });
  expect(stderr).toBe('wpo: expected Node 20 or newer, found 18.20.0. Install a newer one from https://nodejs.org.\n');
  expect(status).toBe(1);
});
