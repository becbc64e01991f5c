import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { peftAdapter } from '../packages/cli/test/golden';
import { readRows, wpo, writeRows } from '../packages/cli/test/wpo';
import { goldenFolder } from '../packages/gemma/test/golden';
import { python, pythonHas } from '../packages/gemma/test/node/python';
import { codeBlocks, LONG } from './support';

// `transformers serve` answers `wpo sample` and judges for `wpo eval`. One server loads each model that a request names.

const hasServer = pythonHas(
  'torch, transformers, fastapi, uvicorn, openai',
  'tests of transformers serve (pip install "transformers[serving]")',
);
const demoModel = fileURLToPath(new URL('../demo/model', import.meta.url));
const dir = mkdtempSync(join(tmpdir(), 'wpo-serve-'));
const [greedy, sampling, prompts] = [join(dir, 'greedy'), join(dir, 'sampling'), join(dir, 'prompts.jsonl')];

let server: ChildProcess | undefined;
let url = '';

const freePort = () =>
  new Promise<number>((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as { readonly port: number };
      probe.close(() => resolve(port));
    });
  });

beforeAll(async () => {
  if (!hasServer) return;
  for (const folder of [greedy, sampling]) cpSync(demoModel, folder, { recursive: true });
  const settings = join(sampling, 'generation_config.json');
  writeFileSync(settings, JSON.stringify({ ...JSON.parse(readFileSync(settings, 'utf8')), do_sample: true }));
  writeRows(prompts, [{ prompt: 'Name a river.' }, { prompt: 'Why is the sky blue?' }]);
  const cache = join(dir, 'hub'); // without this folder, /v1/models fails
  mkdirSync(cache);
  const port = await freePort();
  url = `http://127.0.0.1:${port}/v1`;
  const script = `import sys; from transformers.cli.transformers import main; sys.argv = ["transformers", "serve"] + sys.argv[1:]; main()`;
  const flags = ['--host', '127.0.0.1', '--port', String(port), '--device', 'cpu', '--dtype', 'float32'];
  let said = '';
  server = spawn(python, ['-c', script, ...flags], {
    env: { ...process.env, HF_HUB_CACHE: cache, HF_HUB_OFFLINE: '1', OMP_NUM_THREADS: '1' },
  });
  server.stdout!.on('data', (text) => (said += text));
  server.stderr!.on('data', (text) => (said += text));
  while (
    !(await fetch(url.replace('/v1', '/health')).then(
      ({ ok }) => ok,
      () => false,
    ))
  ) {
    if (server.exitCode !== null) throw new Error(`transformers serve ended: ${said}`);
    await sleep(250);
  }
}, LONG);

afterAll(() => {
  server?.kill();
  rmSync(dir, { recursive: true });
});

/** One request at a time: those that run together share the server's random state. */
const LIMITS = ['--max-new-tokens', '8', '--concurrency', '1'];

/** Answers of the server, or of this program, in the order of prompts and seeds. */
async function sampled(name: string, ...args: readonly string[]) {
  const out = join(dir, `${name}.jsonl`);
  const { status, err } = await wpo('sample', '--prompts', prompts, '--out', out, ...LIMITS, ...args);
  expect(status, err).toBe(0);
  const rows = readRows<{ prompt_id: string; seed: number; completion: string }>(out);
  rows.sort((a, b) => a.prompt_id.localeCompare(b.prompt_id) || a.seed - b.seed);
  return { answers: rows.map(({ completion }) => completion), err };
}

test.skipIf(!hasServer)('greedy answers of transformers serve are those of wpo', async () => {
  const settings = ['--temperature', '0', '--seeds', '1'];
  const theirs = await sampled('theirs', '--endpoint', url, '--model', greedy, ...settings);
  expect(theirs.answers).toEqual((await sampled('ours', '--model', greedy, ...settings)).answers);
  expect(theirs.answers.every((answer) => answer.length > 5)).toBe(true);
});

test.skipIf(!hasServer)('equal answers under different seeds are reported once, with what to do', async () => {
  const { answers, err } = await sampled('equal', '--endpoint', url, '--model', greedy, '--seeds', '1,2');
  expect(answers[0]).toBe(answers[1]);
  expect(err.match(/got equal answers under different seeds/g)).toHaveLength(1);
  expect(err).toContain(
    '`transformers serve` samples only if the model’s generation_config.json has "do_sample": true.',
  );
});

test.skipIf(!hasServer)('with do_sample, seeds give different answers, and the same ones again', async () => {
  const flags = ['--endpoint', url, '--model', sampling, '--seeds', '1,2'];
  const { answers, err } = await sampled('first', ...flags);
  expect(answers[0]).not.toBe(answers[1]);
  expect(err).not.toContain('equal answers');
  expect((await sampled('again', ...flags)).answers).toEqual(answers);
});

test.skipIf(!hasServer)('the server lists no model of a local folder, and the message says to name one', async () => {
  const { status, err } = await wpo(
    'sample',
    '--endpoint',
    url,
    '--prompts',
    prompts,
    '--out',
    join(dir, 'none.jsonl'),
  );
  expect(status).toBe(1);
  expect(err).toContain('expected one model, found none. Give the name of the model to use.');
});

test.skipIf(!hasServer)(
  'a model that wpo trained judges for wpo eval, served by transformers',
  async () => {
    const [judgePrompt, run] = [join(dir, 'judge.txt'), join(dir, 'judge')];
    const template = 'Which is better, m or M? {instruction}\nm: {output_1}\nM: {output_2}';
    writeFileSync(judgePrompt, template); // one user turn: Gemma's chat template refuses system turns
    const outputs = ['Name a river.', 'Why is the sky blue?'].map((instruction) => ({
      instruction,
      output: `${instruction}!`,
      generator: 'mine',
    }));
    const baseline = outputs.map((one) => ({ ...one, output: 'A lake.', generator: 'theirs' }));
    writeFileSync(join(dir, 'outputs.json'), JSON.stringify(outputs));
    writeFileSync(join(dir, 'baseline.json'), JSON.stringify(baseline));
    const asked = outputs.flatMap(({ instruction, output }) =>
      [
        [output, 'A lake.'],
        ['A lake.', output],
      ].map(([first, second]) =>
        template.replace('{instruction}', instruction).replace('{output_1}', first!).replace('{output_2}', second!),
      ),
    );
    writeRows(
      join(dir, 'pairs.jsonl'),
      asked.map((prompt) => ({ prompt, chosen: 'm', rejected: 'no' })),
    );
    writeFileSync(
      join(dir, 'judge.yaml'),
      `model_name_or_path: ${goldenFolder('tiny')}\ntrain_file: pairs.jsonl\noutput_dir: judge\nloss_type: sft\nuse_weighting: false\n` +
        'learning_rate: 0.01\nlr_scheduler_type: constant\nnum_train_epochs: 10\nper_device_train_batch_size: 4\ncompletion: turn\nmax_length: 512\n',
    );
    const trained = await wpo('train', join(dir, 'judge.yaml'));
    expect(trained.status, trained.err).toBe(0);
    const common = [
      '--baseline',
      join(dir, 'baseline.json'),
      '--outputs',
      join(dir, 'outputs.json'),
      '--judge-prompt',
      judgePrompt,
    ];
    const judge = ['--judge', url, '--judge-model', join(run, 'model')];
    const evaluated = await wpo('eval', ...common, ...judge, '--judge-form', 'verdict', '--out', join(dir, 'eval'));
    expect(evaluated.status, evaluated.err).toBe(0);
    // it names the first answer in both orders
    const [judged] = JSON.parse(readFileSync(join(dir, 'eval/annotations.json'), 'utf8')) as {
      raw_completion: string[];
    }[];
    expect(judged!.raw_completion).toEqual(['m', 'm']);
    expect(existsSync(join(dir, 'eval/metrics.json'))).toBe(true);
    const logprobs = await wpo('eval', ...common, ...judge, '--out', join(dir, 'eval-logprobs'));
    expect(logprobs.status).toBe(1);
    expect(logprobs.err).toContain('expected log-probs, found none.');
  },
  LONG,
);

const hasPeft = hasServer && pythonHas('peft', 'the programs of docs/serve.md');

test.skipIf(!hasPeft)(
  'the Python programs of docs/serve.md answer with our model and our adapter',
  async () => {
    const folder = join(dir, 'programs');
    cpSync(demoModel, join(folder, 'runs/first/model'), { recursive: true });
    const [adapter, base] = [join(folder, 'runs/lora/model'), goldenFolder('tiny')];
    cpSync(peftAdapter('query-value'), adapter, { recursive: true });
    for (const name of ['tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja'])
      cpSync(join(base, name), join(adapter, name));
    const settings = join(adapter, 'adapter_config.json');
    writeFileSync(
      settings,
      JSON.stringify({ ...JSON.parse(readFileSync(settings, 'utf8')), base_model_name_or_path: base }),
    );
    const blocks = codeBlocks(fileURLToPath(new URL('../docs/serve.md', import.meta.url)));
    const programs = blocks
      .filter(({ language }) => language === 'python')
      .map(({ code }) => code.replace('max_new_tokens=64', 'max_new_tokens=4'));
    expect(programs).toHaveLength(2);
    const { status, stdout, stderr } = spawnSync(python, ['-c', programs.join('print("---")\n')], {
      cwd: folder,
      encoding: 'utf8',
      env: { ...process.env, HF_HUB_OFFLINE: '1' },
    });
    expect(status, stderr).toBe(0);
    const answers = stdout.split('---\n');
    expect(answers).toHaveLength(2);
    expect(answers[0]!.trim()).not.toBe('');
  },
  LONG,
);
