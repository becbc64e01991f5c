import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { built, codeBlocks, LONG } from './support';

// The commands of docs/start.md, from a CSV file to an adapter, run with the demo's model. e2e/demo.test.ts runs `npm run demo`.

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'wpo-start-'));
afterAll(() => rmSync(folder, { recursive: true }));
beforeAll(built, LONG);

test(
  'the commands of docs/start.md train an adapter on a CSV file, use it and merge it',
  () => {
    const blocks = codeBlocks(join(root, 'docs/start.md'));
    const csv = blocks.findIndex(({ language }) => language === 'csv');
    writeFileSync(join(folder, 'pairs.csv'), blocks[csv]!.code);
    const commands = blocks.slice(csv).filter(({ language }) => language === 'sh');
    const names = commands.flatMap(({ code }) => Array.from(code.matchAll(/^npx wpo (\w+)/gm), ([, name]) => name));
    expect(names).toEqual(['inspect', 'init', 'plan', 'train', 'generate', 'merge']);

    mkdirSync(join(folder, 'models'));
    symlinkSync(join(root, 'demo/model'), join(folder, 'models/gemma-2-2b-it'));
    mkdirSync(join(folder, 'bin'));
    const npx = `#!/bin/sh\nshift\nexec '${process.execPath}' '${join(root, 'packages/cli/bin/wpo.mjs')}' "$@"\n`;
    writeFileSync(join(folder, 'bin/npx'), npx, { mode: 0o755 });
    const env = { ...process.env, PATH: [join(folder, 'bin'), process.env.PATH].join(delimiter) };

    const outputs = commands.map(({ code }) => {
      const { status, stdout, stderr } = spawnSync('sh', ['-e', '-c', code], { cwd: folder, env, encoding: 'utf8' });
      expect(status, `${code}${stdout}${stderr}`).toBe(0);
      return stdout;
    });
    expect(outputs[0]).toContain('Verdict: ready for training.');

    const run = join(folder, 'runs/first');
    const rows = readFileSync(join(run, 'metrics.jsonl'), 'utf8').trim().split('\n');
    const losses = rows.map((row) => JSON.parse(row).loss as number | undefined).filter((loss) => loss !== undefined);
    expect(losses.length).toBeGreaterThan(1);
    for (const loss of losses) expect(loss).toBeGreaterThan(0);
    const { peft_type } = JSON.parse(readFileSync(join(run, 'model/adapter_config.json'), 'utf8'));
    expect(peft_type).toBe('LORA');
    for (const file of ['runs/first/model/adapter_model.safetensors', 'runs/first/report.html']) {
      expect(existsSync(join(folder, file)), file).toBe(true);
    }
    const weights = (model: string) => readFileSync(join(folder, model, 'model.safetensors'));
    expect(weights('models/merged').equals(weights('models/gemma-2-2b-it'))).toBe(false);
  },
  LONG,
);
