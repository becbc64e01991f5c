import { readFileSync } from 'node:fs';

export interface CodeBlock {
  /** What stands after the fence: `ts`, `js`, `sh`, … */
  readonly language: string;
  readonly code: string;
}

/** The fenced code of a Markdown file, in order. */
export function codeBlocks(path: string): CodeBlock[] {
  const fenced = /^```(\w*)[^\n]*\n(.*?)^```$/gms;
  return Array.from(readFileSync(path, 'utf8').matchAll(fenced), ([, language, code]) => ({
    language: language!,
    code: code!,
  }));
}

/** The programs among them. */
export const programs = (path: string) => codeBlocks(path).filter(({ language }) => ['ts', 'js'].includes(language));
