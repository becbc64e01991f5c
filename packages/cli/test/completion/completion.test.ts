import { spawnSync } from 'node:child_process';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { complete } from '../../src/completion/complete';
import { COMMANDS } from '../../src/schemas/reference';
import { temporaryFolder } from '../golden';
import { bin, wpo } from '../wpo';

const words = (...typed: string[]) => complete(typed).words.map(({ word }) => word);

test('commands, flags and values are completed', () => {
  expect(words('')).toEqual(COMMANDS.map(({ name }) => name));
  expect(words('w')).toEqual(['weigh']);
  expect(words('weigh', '--ma')).toEqual(['--max-length', '--max-prompt-length']);
  expect(words('weigh', '--dtype', '')).toEqual(['auto', 'float32', 'bfloat16']);
  expect(words('weigh', '--dtype=b')).toEqual(['--dtype=bfloat16']);
  expect(words('weigh', '--dtype', 'float32', '--dty')).toEqual([]);
  expect(words('--v')).toEqual(['--version']);
  expect(words('nothing', '')).toEqual([]);
});

test('paths are left to the shell, and nothing else is', () => {
  for (const typed of [
    ['train', ''],
    ['weigh', '--pairs', 'da'],
    ['weigh', '--model', ''],
    ['train', '--set', 'train_file=d'],
  ])
    expect(complete(typed)).toEqual({ words: [], files: true });
  for (const typed of [
    ['doctor', ''],
    ['weigh', '--beta', ''],
    ['train', 'run.yaml', 'x'],
    ['eval', '--judge', ''],
  ])
    expect(complete(typed)).toEqual({ words: [], files: false });
  expect(complete(['train', 'run.yaml', '']).files).toBe(false);
  expect(words('train', 'run.yaml', '')).toEqual(['--set', '--resume', '--nproc', '--json', '--watch']);
});

test('--set completes keys of the YAML file and their words', () => {
  expect(words('train', 'run.yaml', '--set', 'use_')).toEqual([
    'use_peft=',
    'use_rslora=',
    'use_dora=',
    'use_weighting=',
  ]);
  expect(words('train', '--set', 'precision=')).toEqual(['precision=float32', 'precision=bfloat16']);
  expect(words('train', '--set', 'use_peft=t')).toEqual(['use_peft=true']);
});

test.each(COMMANDS)('each flag of $name is completed', (schema) => {
  const { out } = { out: words(schema.name, '--') };
  const fields = Object.values(schema.configFile ? schema.flags : schema.fields);
  expect(out).toHaveLength(fields.filter(({ flag }) => !flag?.positional).length + 1);
  expect(out.at(-1)).toBe('--help');
});

test('wpo completion prints a script, and refuses a shell that it does not know', async () => {
  for (const shell of ['bash', 'zsh', 'fish'])
    expect((await wpo('completion', shell)).out).toContain(`wpo complete ${shell} --`);
  expect((await wpo('completion', 'tcsh')).err).toBe(
    'shell: expected one of bash, zsh, fish, found "tcsh".\nAdd --help for more.\n',
  );
  expect((await wpo('complete', 'bash')).err).toMatch(/^complete: expected the name of a shell/);
});

/** Runs a script of a shell in a folder where `wpo` is on the PATH and run.yaml is a file. */
function runIn(shell: string, script: string) {
  const folder = temporaryFolder();
  writeFileSync(join(folder, 'wpo'), `#!/bin/sh\nexec ${process.execPath} ${bin} "$@"\n`);
  chmodSync(join(folder, 'wpo'), 0o755);
  writeFileSync(join(folder, 'run.yaml'), '');
  const env = { ...process.env, PATH: `${folder}:${process.env.PATH}` };
  const { stdout, stderr, error } = spawnSync(shell, ['-c', script], { cwd: folder, env, encoding: 'utf8' });
  if (error) throw error;
  return { out: stdout.split('\n').filter((line) => line !== ''), err: stderr };
}
const has = (shell: string) => spawnSync(shell, ['-c', 'true']).error === undefined;

test.skipIf(!has('bash'))('bash shows the completions', () => {
  const at = (...typed: string[]) =>
    `COMP_WORDS=(wpo ${typed.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${typed.length}; _wpo_complete; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const lines = [at('wei'), at('train', '--set', 'precision', '=', 'b'), at('weigh', '--dtype', 'f')];
  expect(runIn('bash', `source <(wpo completion bash); ${lines.join('; ')}`)).toEqual({
    out: ['weigh', 'bfloat16', 'float32'],
    err: '',
  });
});

test.skipIf(!has('fish'))('fish shows the completions, and files', () => {
  const { out } = runIn('fish', 'wpo completion fish | source; complete -C "wpo wei"; complete -C "wpo train r"');
  expect(out).toEqual(['weigh\tcompute the weight of each preference pair', 'run.yaml']);
});

test.skipIf(!has('zsh'))('zsh accepts the script', () => {
  expect(runIn('zsh', 'autoload -Uz compinit; compinit -D; source <(wpo completion zsh); print $_comps[wpo]')).toEqual({
    out: ['_wpo'],
    err: '',
  });
});
