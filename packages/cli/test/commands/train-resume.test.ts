import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { goldenConfig, readMetrics, temporaryFolder, timeless } from '../golden';
import { startWpo } from '../wpo';

const folder = temporaryFolder();
const config = goldenConfig(folder);
const whole = join(folder, 'whole');

const start = (output: string, ...more: string[]) =>
  startWpo(['train', config, '--set', 'save_steps=1', '--set', `output_dir=${output}`, ...more]);

beforeAll(async () => {
  const { status, err } = await start(whole).ended;
  expect(status, err).toBe(0);
});

/** Resumes a run, and expects the same end as that of the run that was never stopped. */
async function expectSameEnd(output: string, expected = whole, ...more: string[]) {
  const { status, err } = await start(output, '--resume', ...more).ended;
  expect(status, err).toBe(0);
  expect(timeless(readMetrics(output))).toEqual(timeless(readMetrics(expected)));
  for (const file of [
    'model/model.safetensors',
    'checkpoint-8/model.safetensors',
    'checkpoint-8/optimizer.safetensors',
  ]) {
    expect(readFileSync(join(output, file)).equals(readFileSync(join(expected, file))), file).toBe(true);
  }
}

test('a run that was killed after step 3 of 8 and resumed has the same metrics and weights, bit for bit', async () => {
  const output = join(folder, 'killed');
  const run = start(output);
  await run.wrote('train 3/8');
  run.kill('SIGKILL');
  expect((await run.ended).signal).toBe('SIGKILL');
  expect(existsSync(join(output, 'checkpoint-3'))).toBe(true);
  expect(existsSync(join(output, 'model'))).toBe(false);
  await expectSameEnd(output);
});

test('with products of bfloat16, a resumed run has the same bits, and must have the same precision', async () => {
  const precision = ['--set', 'precision=bfloat16'];
  const [output, expected] = [join(folder, 'killed-bfloat16'), join(folder, 'whole-bfloat16')];
  expect((await start(expected, ...precision).ended).status).toBe(0);
  expect(timeless(readMetrics(expected))).not.toEqual(timeless(readMetrics(whole)));
  const run = start(output, ...precision);
  await run.wrote('train 3/8');
  run.kill('SIGKILL');
  await run.ended;
  const other = await start(output, '--resume', '--set', 'precision=float32').ended;
  expect(other.status).toBe(1);
  expect(other.err).toContain('precision was bfloat16 and is now float32');
  await expectSameEnd(output, expected, ...precision);
});

test.each(['adamw_bnb_8bit', 'lion_32bit', 'adafactor', 'sgd'])(
  'with optim: %s, a resumed run has the same bits, and must have the same optimizer',
  async (optim) => {
    const set = ['--set', `optim=${optim}`];
    const [output, expected] = [join(folder, `killed-${optim}`), join(folder, `whole-${optim}`)];
    expect((await start(expected, ...set).ended).status).toBe(0);
    expect(timeless(readMetrics(expected))).not.toEqual(timeless(readMetrics(whole)));
    const run = start(output, ...set);
    await run.wrote('train 3/8');
    run.kill('SIGKILL');
    await run.ended;
    const other = await start(output, '--resume').ended;
    expect(other.status).toBe(1);
    expect(other.err).toContain(`optim was ${optim} and is now adamw_torch`);
    await expectSameEnd(output, expected, ...set);
  },
);

test.each([
  ['exact', 'F32'],
  ['stochastic', 'BF16'],
])(
  'with %s master weights, a resumed run has the same bits, and its checkpoints have weights of %s',
  async (how, type) => {
    const set = ['--set', 'dtype=bfloat16', '--set', `master_weights=${how}`, '--set', 'optim=adamw_bnb_8bit'];
    const [output, expected] = [join(folder, `killed-${how}`), join(folder, `whole-${how}`)];
    const { status, err } = await start(expected, ...set).ended;
    expect(status, err).toBe(0);
    expect(typesIn(join(expected, 'checkpoint-8', 'model.safetensors'))).toEqual(new Set(['F32', type]));
    expect(typesIn(join(expected, 'checkpoint-8', 'optimizer.safetensors'))).toEqual(new Set(['F32', 'U8']));
    const run = start(output, ...set);
    await run.wrote('train 3/8');
    run.kill('SIGKILL');
    await run.ended;
    const other = await start(output, '--resume', ...set, '--set', 'dtype=auto').ended;
    expect(other.status).toBe(1);
    await expectSameEnd(output, expected, ...set);
  },
);

/** The types of a file's tensors. */
function typesIn(path: string): Set<unknown> {
  const bytes = readFileSync(path);
  const text = bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE())).toString();
  const header: Record<string, { readonly dtype?: string }> = JSON.parse(text);
  return new Set(Object.values(header).flatMap(({ dtype }) => dtype ?? []));
}

test.each([
  ['SIGTERM', 143],
  ['SIGINT', 130],
] as const)('%s lets the step end, saves a checkpoint, prints its path, and exits with %i', async (signal, status) => {
  const output = join(folder, signal);
  const run = start(output, '--set', 'save_steps=0');
  await run.wrote('train 2/8');
  run.kill(signal);
  const ended = await run.ended;
  expect(ended.status).toBe(status);
  expect(ended.err).toContain(`${signal}: stopping after the current computation.`);
  const checkpoints = readdirSync(output).filter((name) => name.startsWith('checkpoint-'));
  expect(checkpoints).toHaveLength(1);
  const step = checkpoints[0]!.split('-')[1];
  expect(ended.out).toContain(`Stopped after step ${step} of 8. Checkpoint: ${join(output, checkpoints[0]!)}.`);
  expect(ended.out).toContain(`npm run -s wpo -- train ${join(output, 'config.yaml')} --resume`);
  await expectSameEnd(output);
});

test('a second run in the same folder is an error, and does not affect the first', async () => {
  const output = join(folder, 'shared');
  const run = start(output);
  await run.wrote('train 2/8');
  run.kill('SIGSTOP');
  const second = await start(output, '--resume').ended;
  run.kill('SIGCONT');
  expect(second.status).toBe(1);
  expect(second.err).toContain(`${output}: another wpo process is writing here`);
  expect((await run.ended).status).toBe(0);
  await expectSameEnd(output);
});
