import { readFileSync } from 'node:fs';

export interface CodeBlock {
  /** The language after the fence: `ts`, `js`, `sh`, … */
  readonly language: string;
  readonly code: string;
}

/** The fenced code blocks of a Markdown file, in order. */
export function codeBlocks(path: string): CodeBlock[] {
  const fenced = /^```(\w*)[^\n]*\n(.*?)^```$/gms;
  return Array.from(readFileSync(path, 'utf8').matchAll(fenced), ([, language, code]) => ({
    language: language!,
    code: code!,
  }));
}

/** Those in TypeScript or JavaScript. */
export const programs = (path: string) => codeBlocks(path).filter(({ language }) => ['ts', 'js'].includes(language));
