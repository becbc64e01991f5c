import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, expect, it } from 'vitest';
import { encodePrompt } from '../../src/index';
import { loadTokenizerFolder } from '../../src/node';
import { fixture } from '../fixtures';

const root = mkdtempSync(join(tmpdir(), 'wpo-data-'));
afterAll(() => rmSync(root, { recursive: true }));
const dir = join(root, 'model');
const source = readFileSync(fixture('tiny/chat_template.jinja'), 'utf8');

beforeEach(() => {
  rmSync(dir, { recursive: true, force: true });
  cpSync(fixture('tiny'), dir, { recursive: true });
});

const setTemplate = (chat_template: unknown) => {
  const path = join(dir, 'tokenizer_config.json');
  const config = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
  writeFileSync(path, JSON.stringify({ ...config, chat_template }));
};

it('prefers chat_template.jinja to a template in tokenizer_config.json', async () => {
  setTemplate('other');
  expect((await loadTokenizerFolder(dir)).chatTemplate).toBe(source);
});

it.each([
  ['text', source],
  [
    'a list with a default',
    [
      { name: 'tool_use', template: 'tools' },
      { name: 'default', template: source },
    ],
  ],
])('reads the template from tokenizer_config.json: %s', async (_, template) => {
  rmSync(join(dir, 'chat_template.jinja'));
  setTemplate(template);
  expect((await loadTokenizerFolder(dir)).chatTemplate).toBe(source);
});

it('reads a folder without a template, and fails if one is needed', async () => {
  rmSync(join(dir, 'chat_template.jinja'));
  const base = await loadTokenizerFolder(dir);
  expect(base.chatTemplate).toBeUndefined();
  expect(() => encodePrompt([{ role: 'user', content: 'hi' }], base)).toThrow(
    'Put chat_template.jinja into the model’s folder',
  );
});

it('names the templates of a list without a default', async () => {
  rmSync(join(dir, 'chat_template.jinja'));
  setTemplate([{ name: 'rag', template: 'r' }]);
  await expect(loadTokenizerFolder(dir)).rejects.toThrow(
    'tokenizer_config.json: chat_template: expected text, or a list with an entry named "default", found templates named rag',
  );
});

it.each(['tokenizer.json', 'tokenizer_config.json'])('names a missing or broken %s', async (name) => {
  writeFileSync(join(dir, name), 'version https://git-lfs.github.com/spec/v1');
  await expect(loadTokenizerFolder(dir)).rejects.toThrow(`${join(dir, name)}: expected JSON, found Unexpected token`);
  await expect(loadTokenizerFolder(dir)).rejects.toThrow('a Git LFS pointer');
  writeFileSync(join(dir, name), '[]');
  await expect(loadTokenizerFolder(dir)).rejects.toThrow(`${dir}: ${name}: expected a JSON object, found a list`);
  rmSync(join(dir, name));
  await expect(loadTokenizerFolder(dir)).rejects.toThrow(
    `${join(dir, name)}: expected a tokenizer file, found no such file`,
  );
});
