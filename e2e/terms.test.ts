import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

// Words that this project does not use, and the term that it uses instead. A reader who knows PyTorch, CUDA and Hugging
// Face must not have to learn a vocabulary of ours.

interface Retired {
  /** Matches the word in a line of a source file or document. */
  readonly pattern: RegExp;
  readonly use: string;
  /** The files in which the word is retired; all where absent. */
  readonly within?: RegExp;
}

const NATIVE = /^packages\/tensorflow\/(native|src|test)\//;

const RETIRED: readonly Retired[] = [
  // errors and messages
  { pattern: /\bwanted\b/i, use: 'expected' },
  { pattern: /\bmend(s|ed|ing)?\b/i, use: 'hint (the field), fix (prose)' },
  { pattern: /\baloud\b/i, use: 'with a message' },
  { pattern: /\bpassed over\b/i, use: 'skipped, ignored' },
  { pattern: /\b(go|goes|gone|going) on with\b/i, use: 'resume, continue' },
  // prose
  { pattern: /\bso many\b/i, use: "the number's name: every `logging_steps` steps" },
  { pattern: /\bway (there|back)\b/i, use: 'forward pass, backward pass' },
  { pattern: /\bthere and back\b/i, use: 'forward and backward' },
  { pattern: /\bno number\b/i, use: 'NaN' },
  { pattern: /\bprocessors?\b/i, use: 'CPU' },
  { pattern: /\blaid out\b|\blay(s|ing)? (it |them )?out\b|\blayOut/i, use: 'pack, arrange, layout' },
  {
    pattern: /\bby itself goes\b|\bthough be none\b|\bof few rows\b|\bis told by\b|\bwithout a word\b/i,
    use: 'a plain sentence',
  },
  { pattern: /\b(likelier|heeds?|whoever|hears? of|told apart|goes by itself|came of it)\b/i, use: 'plain English' },
  { pattern: /\bforeign\b/i, use: 'off-policy' },
  // the training loop
  { pattern: /\bbreathe/i, use: 'yieldToEventLoop' },
  { pattern: /\brehears/i, use: 'preflight' },
  { pattern: /\bpatience/i, use: 'failureLimit' },
  { pattern: /\bclaim(s|ed|ing)?\b|\bclaimFolder\b/i, use: 'lock' },
  { pattern: /\bmemo\b/i, use: 'cache' },
  {
    pattern: /\bexchange\??:|\bexchange\b.*\bgradients\b/i,
    use: 'allReduceGradients',
    within: /^packages\/(trainer|cli)\//,
  },
  {
    pattern: /\b(keep|correction)\b/,
    use: 'decayFactor, biasCorrection',
    within: /adamw|update\.(cc|cu)|kernels\.cu|optimizer\.ts/,
  },
  // kernels
  { pattern: /\bcomposed\b/i, use: 'portable' },
  { pattern: /(^|[^<])\b\w*spans?\b/i, use: 'query block' },
  { pattern: /\bsettle[sd]?\b/i, use: 'materialize' },
  { pattern: /\b(new|class|instanceof) Later\b|: Later\b/, use: 'LazyTensor' },
  { pattern: /\bthirds\b/i, use: 'bf16x3 split, split-bfloat16 product' },
  { pattern: /\blanes?\b/i, use: 'ISA (amx, avx512, avx2, sse), vector width', within: NATIVE },
  { pattern: /\bWPO_LANES\b/, use: 'WPO_ISA' },
  { pattern: /\bturn(ed|s)?\b/, use: 'transpose, transposed', within: /^packages\/tensorflow\/native\// },
  { pattern: /\b(across|along)\b/, use: 'row stride, depth stride', within: /^packages\/tensorflow\/native\// },
  {
    pattern: /\b(Way|WPO_WAYS?|Products|Machine|Half)\b/,
    use: 'ISA variant, GemmArgs, interpreter, Bf16',
    within: NATIVE,
  },
  { pattern: /\bnoted\b/i, use: 'recorded', within: /^packages\/(tensorflow|gemma)\// },
];

const root = fileURLToPath(new URL('..', import.meta.url));
const TEXT = /\.(ts|mjs|js|cc|h|cu|py|md|ya?ml|sh)$|^\.ci\/run$/;
const SKIPPED = /^(pnpm-lock\.yaml|e2e\/terms\.test\.ts)$|\/fixtures\/|CHANGELOG\.md$|^bench\/LOG\.md$/;

/** WPO_TERMS_IN=packages/loss checks a part of the tree. */
const part = process.env.WPO_TERMS_IN ?? '';
const files = execFileSync('git', ['ls-files'], { cwd: root, encoding: 'utf8' })
  .split('\n')
  .filter((path) => path.startsWith(part) && TEXT.test(path) && !SKIPPED.test(path));
const lines = files.flatMap((path) =>
  readFileSync(join(root, path), 'utf8')
    .split('\n')
    .map((text, i) => ({ path, place: `${path}:${i + 1}: ${text.trim()}`, text })),
);

describe('words of our own do not come back', () => {
  test.each(RETIRED.map((word) => ({ name: String(word.pattern), ...word })))(
    '$name: use $use',
    ({ pattern, within }) => {
      const found = lines.filter(({ path, text }) => (within?.test(path) ?? true) && pattern.test(text));
      expect(found.map(({ place }) => place)).toEqual([]);
    },
  );

  test('there are files to search', () => expect(files.length).toBeGreaterThan(part ? 0 : 300));
});
