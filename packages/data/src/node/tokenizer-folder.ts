import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { describe } from '@wpo/internal/describe';
import { printable } from '@wpo/internal/printable';
import type { TextOptions } from '../encode/render';
import { loadTokenizer, type Tokenizer } from '../encode/tokenizer';
import { fileError } from './files';

/**
 * Reads the tokenizer of a Hugging Face model folder: `tokenizer.json`, `tokenizer_config.json`, and the chat template
 * from `chat_template.jinja`, else from `chat_template` in `tokenizer_config.json` (text, or the entry named `default` of
 * a list). If the folder has the model's `config.json`, every token must have a row in the embedding.
 *
 * @throws {Error} naming the file that is missing or broken
 */
export async function loadTokenizerFolder(dir: string): Promise<TextOptions> {
  // read one after another, so that the error always names the same file if several are missing
  const tokenizerJson = await readJson(join(dir, 'tokenizer.json'));
  const tokenizerConfig = await readJson(join(dir, 'tokenizer_config.json'));
  const templateFile = await readTextIfPresent(join(dir, 'chat_template.jinja'));
  const embeddingRows = await vocabSizeIn(join(dir, 'config.json'));
  let tokenizer: Tokenizer;
  try {
    tokenizer = loadTokenizer({ tokenizerJson, tokenizerConfig, embeddingRows });
  } catch (error) {
    throw new Error(`${dir}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
  folders.set(tokenizer, resolve(dir));
  return { tokenizer, chatTemplate: templateFile ?? templateIn(tokenizerConfig, join(dir, 'tokenizer_config.json')) };
}

const folders = new WeakMap<Tokenizer, string>();

/** The folder from which a tokenizer was read, so that another thread can load it too; undefined if there is none. */
export const folderOf = (tokenizer: Tokenizer): string | undefined => folders.get(tokenizer);

const HINT = 'Pass the folder of a model in Hugging Face’s layout, with its tokenizer files.';

/** A file's text, without a byte-order mark at its start. */
const readText = async (path: string) => (await readFile(path, 'utf8')).replace(/^\ufeff/, '');

async function readJson(path: string): Promise<unknown> {
  let text: string;
  try {
    text = await readText(path);
  } catch (error) {
    throw fileError(path, error, 'a tokenizer file', HINT);
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw fileError(path, error, 'JSON', 'Download the file again: it may be cut off, or a Git LFS pointer.');
  }
}

async function readTextIfPresent(path: string, expected = 'a chat template'): Promise<string | undefined> {
  try {
    return await readText(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw fileError(path, error, expected, HINT);
  }
}

/** The rows of the model's embedding; undefined without a valid config.json, which the model's loader reports. */
async function vocabSizeIn(path: string): Promise<number | undefined> {
  const text = await readTextIfPresent(path, 'a model configuration');
  try {
    const config = JSON.parse(text ?? '{}') as { vocab_size?: unknown; text_config?: { vocab_size?: unknown } } | null;
    const size = config?.vocab_size ?? config?.text_config?.vocab_size;
    return typeof size === 'number' && Number.isSafeInteger(size) && size > 0 ? size : undefined;
  } catch {
    return undefined;
  }
}

function templateIn(config: unknown, path: string): string | undefined {
  const template = (config as { chat_template?: unknown }).chat_template ?? undefined;
  if (template === undefined || typeof template === 'string') return template;
  const named = Array.isArray(template) ? (template as { name?: unknown; template?: unknown }[]) : [];
  const chosen = named.find((entry) => entry?.name === 'default')?.template;
  if (typeof chosen === 'string') return chosen;
  const names = printable(named.map((entry) => String(entry?.name)).join(', '), 200);
  const found = names === '' ? describe(template) : `templates named ${names}`;
  throw new Error(
    `${path}: chat_template: expected text, or a list with an entry named "default", found ${found}. ` +
      'Put the template to use into chat_template.jinja.',
  );
}
