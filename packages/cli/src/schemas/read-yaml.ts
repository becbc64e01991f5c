import { existsSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { printable } from '@wpo/internal/printable';
import { isAlias, isMap, isScalar, isSeq, LineCounter, type ParsedNode, parseDocument, type YAMLMap } from 'yaml';
import { UserError } from '../errors';
import { wpoCommand } from '../invocation';

/** A value and where it was given. */
export interface Given {
  readonly value: unknown;
  /** Prefix of the key in messages: `run.yaml:3: `, or `--set `. */
  readonly at: string;
  /** The folder that a relative path starts from. */
  readonly folder: string;
  /** The keys of a value that is a group of keys. */
  readonly keys?: readonly (readonly [string, Given])[];
  /** Why the value is an error, whatever the key accepts: `expected …, found …. Hint`. */
  readonly refusal?: string;
}

// Limits of a configuration, far above any real one. They bound the time and memory of hostile files.
const MAX_BYTES = 256 * 1024;
const MAX_VALUES = 20_000;
const MAX_DEPTH = 20;
const MAX_ERRORS = 3;

/** The text of a YAML file. @throws {UserError} if it cannot be read, or is not a text file of a sensible size */
export async function readConfigText(file: string): Promise<string> {
  const bytes = await readStart(file).catch((error: NodeJS.ErrnoException) => {
    throw new UserError(`${file}: expected a YAML file, found ${whyUnreadable(file, error)}`);
  });
  if (bytes.includes(0)) throw wrongFile(file, 'a binary file');
  if (bytes.length > MAX_BYTES) throw wrongFile(file, `more than ${MAX_BYTES / 1024} KB`);
  return bytes.toString('utf8');
}

/** At most one byte more than a configuration may have: the file may be endless, such as a device or a pipe. */
async function readStart(path: string): Promise<Buffer> {
  const file = await open(path);
  try {
    const bytes = Buffer.alloc(MAX_BYTES + 1);
    let length = 0;
    for (;;) {
      const { bytesRead } = await file.read(bytes, length, bytes.length - length);
      length += bytesRead;
      if (bytesRead === 0 || length === bytes.length) return bytes.subarray(0, length);
    }
  } finally {
    await file.close();
  }
}

function whyUnreadable(file: string, { code, message }: NodeJS.ErrnoException): string {
  if (code === 'ENOENT') return `no such file. To write one: ${writesOne()}`;
  if (code !== 'EISDIR') return `${printable(message)}.`;
  const config = join(file, 'config.yaml');
  return existsSync(config)
    ? `the folder of a run. To continue it: ${wpoCommand()} train ${config} --resume`
    : 'a folder. Give the path of a file in it.';
}

const writesOne = () => `${wpoCommand()} init --model MODEL --data PAIRS --out run.yaml`;

const wrongFile = (file: string, found: string) =>
  new UserError(
    `${file}: expected a YAML file with the keys of a command, found ${found}. Write the path of data or of a model into a ` +
      `configuration, e.g. \`train_file: data.jsonl\`. To write one: ${writesOne()}`,
  );

/**
 * Parses the keys of a YAML text, each with its line and the file's folder. A byte-order mark at the start is ignored.
 *
 * @throws {UserError} naming file and line, for a text that is not YAML or exceeds the limits of a configuration
 */
export function readYaml(text: string, file: string): (readonly [string, Given])[] {
  const yaml = text.replace(/^\ufeff/, '');
  if (DATA_FILE.test(file) || isData(yaml)) throw wrongFile(file, 'a file of data');
  const { contents, lineOf } = parseText(yaml, (line) => `${file}:${line}: `);
  if (contents === null) return [];
  if (!isMap(contents)) throw new UserError(`${file}: expected lines of the form "key: value", found no keys.`);
  const folder = dirname(resolve(file));
  const reader = new NodeReader((node) => `${file}:${lineOf(node)}: `);

  const keysOf = (map: YAMLMap, depth: number): (readonly [string, Given])[] =>
    reader.entries(map).map(({ name, key, node }) => {
      const given = { value: reader.value(node, depth + 1), at: `${file}:${lineOf(key)}: `, folder };
      const target = reader.target(node);
      return [name, isMap(target) ? { ...given, keys: keysOf(target, depth + 1) } : given];
    });
  return keysOf(contents, 0);
}

/** Parses a YAML value, such as that of `--set key=value`. @throws {UserError} @param at prefix of messages */
export function readYamlValue(yaml: string, at: string): unknown {
  const { contents } = parseText(yaml, () => at);
  return new NodeReader(() => at).value(contents, 0);
}

const DATA_FILE = /\.(jsonl|ndjson|csv|tsv|parquet|arrow|safetensors|gguf)(\.(gz|zst))?$/i;
const DATA_FIELDS = ['prompt', 'chosen', 'rejected', 'messages', 'instruction', 'architectures', 'model_type'];

/** Whether a text is JSON lines, a JSON array, or a JSON object with the fields of a pair or of a model's config. */
function isData(text: string): boolean {
  if (!/^\s*[[{]/.test(text)) return false;
  const [line = '', ...more] = text.trimStart().split('\n', 2);
  const first = parseJson(line);
  const value = first ?? parseJson(text);
  const isLines = first !== undefined && more.join('').trim() !== '';
  return isLines || Array.isArray(value) || DATA_FIELDS.some((field) => Object.hasOwn(Object(value), field));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

interface ParsedText {
  readonly contents: ParsedNode | null;
  /** The line of a node, from 1. */
  readonly lineOf: (node: unknown) => number;
}

function parseText(yaml: string, at: (line: number) => string): ParsedText {
  const lines = new LineCounter();
  const lineOf = (offset: number | undefined) => lines.linePos(offset ?? 0).line;
  if (yaml.length > MAX_BYTES)
    throw new UserError(`${at(1)}expected at most ${MAX_BYTES / 1024} KB of YAML, found more.`);
  if (/(?:[[{]\s*){60}|(?:- ){60}|(?:\? ){60}/.test(yaml)) throw tooDeep(at(1));
  try {
    // keys are checked below: the parser would compare each key with every other
    const options = { lineCounter: lines, prettyErrors: false, uniqueKeys: false, logLevel: 'silent' } as const;
    const { contents, errors } = parseDocument(yaml, options);
    if (errors.some(({ message }) => message.includes('call stack'))) throw tooDeep(at(1));
    if (errors.length > 0) {
      const shown = errors.slice(0, MAX_ERRORS);
      const messages = shown.map(
        ({ pos, message }) =>
          `${at(lineOf(pos[0]))}this is not valid YAML: ${printable(message, 200)}. ${hintFor(message)}`,
      );
      const more = errors.length - shown.length;
      throw new UserError([...messages, ...(more > 0 ? [`and ${more} more such errors`] : [])].join('\n'));
    }
    return { contents, lineOf: (node) => lineOf((node as ParsedNode | null)?.range?.[0]) };
  } catch (error) {
    if (error instanceof RangeError) throw tooDeep(at(1)); // the parser recurses
    throw error;
  }
}

const hintFor = (message: string) =>
  message.startsWith('Implicit map keys need')
    ? 'Write `key: value`, with a space after the colon.'
    : 'Check the line’s indentation (spaces) and quotes.';

const tooDeep = (at: string) =>
  new UserError(`${at}expected at most ${MAX_DEPTH} levels of nesting, found more. A configuration has two or three.`);

interface Entry {
  readonly name: string;
  readonly key: unknown;
  readonly node: unknown;
}

/** Converts nodes to values, with a limit on their number, so that aliases of aliases cannot multiply without end. */
class NodeReader {
  private values = 0;
  private readonly anchors = new Map<string, unknown>();

  constructor(private readonly at: (node: unknown) => string) {}

  value(node: unknown, depth: number): unknown {
    this.values += 1;
    if (this.values > MAX_VALUES) {
      throw new UserError(
        `${this.at(node)}expected at most ${MAX_VALUES} values, found more. Aliases count as what they repeat.`,
      );
    }
    if (depth > MAX_DEPTH) throw tooDeep(this.at(node));
    if (isAlias(node)) return this.value(this.target(node), depth + 1);
    const { anchor } = (node ?? {}) as { readonly anchor?: string };
    if (anchor !== undefined) this.anchors.set(anchor, node);
    if (isScalar(node)) return node.value;
    if (isSeq(node)) return node.items.map((item) => this.value(item, depth + 1));
    if (!isMap(node)) return null;
    return Object.fromEntries(this.entries(node).map((entry) => [entry.name, this.value(entry.node, depth + 1)]));
  }

  /** The node that an alias repeats; any other node as it is. @throws {UserError} if its anchor is not above it */
  target(node: unknown): unknown {
    if (!isAlias(node)) return node;
    if (this.anchors.has(node.source)) return this.anchors.get(node.source);
    throw new UserError(
      `${this.at(node)}expected an anchor &${printable(node.source, 40)} before this alias, found none. Text that begins ` +
        'with * must be in quotes.',
    );
  }

  /** A map's entries. @throws {UserError} for a key that is not text or number, and for a key given twice */
  entries(map: YAMLMap): Entry[] {
    const names = new Set<string>();
    return map.items.map(({ key, value: node }) => {
      if (!isScalar(key) || typeof key.value === 'object') {
        const found = isScalar(key) ? 'nothing' : isAlias(key) ? 'an alias' : 'a list or group of keys';
        throw new UserError(
          `${this.at(key)}expected a key that is text, found ${found}. Put text that begins with [ { * & ? in quotes.`,
        );
      }
      const name = String(key.value);
      if (names.has(name)) {
        throw new UserError(
          `${this.at(key)}${printable(name, 60)}: expected each key once, found it twice. Remove one of the two.`,
        );
      }
      names.add(name);
      return { name, key, node };
    });
  }
}
