import '@wpo/tensorflow';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { goldenConfig, readMetrics, temporaryFolder, trainFrom } from '../golden';
import { capture } from '../wpo';

test('an extension of a finished run that is stopped is resumed, and not taken for finished', async () => {
  const folder = temporaryFolder();
  const config = goldenConfig(folder);
  const run = join(folder, 'run');
  expect(await trainFrom({ config, set: ['max_steps=2'] }, capture())).toBe(0);
  const terminal = capture();
  const write = terminal.stderr.write.bind(terminal.stderr);
  terminal.stderr.write = (text: string) => {
    if (text.includes('with other settings')) process.kill(process.pid, 'SIGTERM');
    return write(text);
  };
  expect(await trainFrom({ config, set: ['max_steps=4'], resume: true }, terminal)).toBe(143);
  expect(terminal.out()).toContain('Stopped after step 2 of 4.');
  const again = capture();
  expect(await trainFrom({ config: join(run, 'config.yaml'), resume: true }, again)).toBe(0);
  expect(again.out()).toContain('\nTrained.\n');
  expect(readMetrics(run).map(({ step }) => step)).toEqual([1, 2, 3, 4]);
  const ended = capture();
  expect(await trainFrom({ config: join(run, 'config.yaml'), resume: true }, ended)).toBe(0);
  expect(ended.out()).toBe(`This run is finished. Its model is in ${join(run, 'model')}\n`);
});
