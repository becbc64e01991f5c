import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { setUp } from '../scripts/setup.mjs';

/**
 * Builds the packages whose sources have changed, with their types. Every test file asks for the types too, so that no test
 * runs while another file's build replaces what it reads.
 */
export const built = () => setUp({ quiet: true, declarations: true });

/** Timeout in milliseconds of a test that may build all packages or download TensorFlow on a slow machine. */
export const LONG = 600_000;

/** Folder names of the packages that are published, such as `loss`. */
export function publishedPackages(): string[] {
  const packages = new URL('../packages/', import.meta.url);
  return readdirSync(fileURLToPath(packages)).filter(
    (name) => !JSON.parse(readFileSync(new URL(`${name}/package.json`, packages), 'utf8')).private,
  );
}

export interface CodeBlock {
  /** The language after the fence: `ts`, `js`, `sh`, …; empty for output and drawings. */
  readonly language: string;
  readonly code: string;
  /** Why no test looks at it: the text of `<!-- not checked: … -->` on the line before it. */
  readonly notChecked: string | undefined;
}

/** The fenced code blocks of a Markdown file, in order. */
export function codeBlocks(path: string): CodeBlock[] {
  const fenced = /(?:^<!-- not checked: ([^\n]*) -->\n+)?^```(\w*)[^\n]*\n(.*?)^```$/gms;
  return Array.from(readFileSync(path, 'utf8').matchAll(fenced), ([, notChecked, language, code]) => ({
    language: language!,
    code: code!,
    notChecked,
  }));
}

/** Those in TypeScript or JavaScript. */
export const programs = (path: string) =>
  codeBlocks(path).filter(({ language, notChecked }) => ['ts', 'js'].includes(language) && notChecked === undefined);
