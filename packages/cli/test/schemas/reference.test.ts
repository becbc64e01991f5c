import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { referencePage, runJsonSchema, trainJsonSchema } from '../../src/schemas/reference';
import { fromTrlPage, type TrlOptions } from '../../src/schemas/trl-page';

// `npm run reference` writes these files, by running this test with --update.

const root = fileURLToPath(new URL('../../../..', import.meta.url));
const json = (schema: object) => `${JSON.stringify(schema, null, 2)}\n`;

test('docs/cli.md is the reference page of the schemas', async () => {
  await expect(referencePage()).toMatchFileSnapshot(`${root}/docs/cli.md`);
});

test('docs/from-trl.md is the page of TRL’s options', async () => {
  const options = readFileSync(`${root}/packages/cli/test/fixtures/trl-1.16-options.json`, 'utf8');
  await expect(fromTrlPage(JSON.parse(options) as TrlOptions)).toMatchFileSnapshot(`${root}/docs/from-trl.md`);
});

test('the JSON schemas for editors are those of the schemas', async () => {
  await expect(json(trainJsonSchema())).toMatchFileSnapshot(`${root}/packages/cli/schemas/train.schema.json`);
  await expect(json(runJsonSchema())).toMatchFileSnapshot(`${root}/packages/cli/schemas/run.schema.json`);
});

test('every recipe begins with the line that gives its schema to editors', () => {
  for (const name of readdirSync(`${root}/recipes`).filter((file) => file.endsWith('.yaml'))) {
    const schema = name === 'hybrid.yaml' ? 'run' : 'train';
    const [line] = readFileSync(`${root}/recipes/${name}`, 'utf8').split('\n');
    expect(line, name).toBe(`# yaml-language-server: $schema=../packages/cli/schemas/${schema}.schema.json`);
  }
});
