import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

// Words and phrases that this project does not use, each with what to write instead. A reader who knows PyTorch, CUDA and
// Hugging Face must not have to learn a vocabulary of ours, and an English sentence must not need a second reading.

interface Retired {
  /** Matches the word in a line of a source file or document. */
  readonly pattern: RegExp;
  readonly use: string;
  /** The files in which the word is retired; all files where absent. */
  readonly within?: RegExp;
}

const NATIVE = /^packages\/tensorflow\/(native|src|test)\//;
/** In `gpu/`, a lane is a thread of a warp, as in CUDA. */
const NATIVE_CPU = /^packages\/tensorflow\/(native|src|test)\/(?!gpu\/)/;
const ARCHAIC = 'afresh|albeit|amiss|anew|aught|hence|heretofore|lest|nought|thereof|therein|whence|wherein|withal';
/** Things that are counted per something else. */
const COUNTED = '\\d+|tokens?|rows|lines?|bytes|files|calls|kernels|ms|KB|MB|GB';
const PER = 'pair|token|prompt|step|row|answer|parameter|line|file|layer|check';

const RETIRED: readonly Retired[] = [
  // errors and messages
  { pattern: /wanted/i, use: 'expected' },
  { pattern: /(?<!com|a)(mend|Mend)(s|ed|ing)?(?![a-z])|MENDS?\b/, use: 'hint (the field), fix (prose)' },
  { pattern: /\baloud\b/i, use: 'with a message' },
  { pattern: /\bpassed over\b/i, use: 'skip, ignore' },
  { pattern: /\b(is|are|be|was|were) told\b|\btold (by|from)\b/i, use: 'is reported, gets, is distinguished by' },
  { pattern: /\bspoil(s|ed|t)?\b/i, use: 'corrupt, damage' },

  // one plain verb instead of an old phrase
  { pattern: /\b(go|goes|going|gone|went) on\b(?! to\b)/i, use: 'continue, resume' },
  { pattern: /\b(come|comes|came) of\b/i, use: 'result from, be made from' },
  { pattern: /\blies? (in|at|on|beside|under|there|here)\b(?! \[)/i, use: 'is in, is stored in' },
  {
    pattern: /\bstands? (beside|there|here|in (?!for))|\bas (it|they) stands?\b/i,
    use: 'is next to, is in, unchanged',
  },
  { pattern: /\bheld to\b|\bholds? (it|them|both|each) to\b/i, use: 'compared with, limited to, kept close to' },
  { pattern: /\bput(s|ting)?\b.{0,30}\bin(to)? place\b/i, use: 'install, replace' },
  { pattern: /\blet(s|ting)? go\b/i, use: 'release, dispose' },
  { pattern: /\bbe had\b/i, use: 'be available, be downloaded' },
  { pattern: /\bcompute(s|d)? .{0,20}again\b/i, use: 'recompute' },
  { pattern: /\blaid out\b|\b[Ll]ay(s|ing)? (it |them )?out\b|\blayOut/, use: 'pack, arrange, layout' },
  { pattern: /\b(heeds?|hears? of|told apart|goes by itself)\b/i, use: 'plain English' },

  // plain English for other turns of phrase
  { pattern: new RegExp(`\\b(${COUNTED}) an? (${PER})\\b`), use: 'one line per pair, bytes per parameter' },
  { pattern: /\bso many\b/i, use: "the number's name: every `logging_steps` steps" },
  { pattern: new RegExp(`\\b(${ARCHAIC})\\b`, 'i'), use: 'again, wrong, so, of it, which' },
  { pattern: /\b(unasked|whoever|likelier|likeliest)\b/i, use: 'by default, the user, more likely, most likely' },
  { pattern: /\bbut for\b/i, use: 'except for' },
  { pattern: /\botherwise than\b/i, use: 'differently from' },
  { pattern: /[,;] for (it|they|there) (is|are|was|were|has|have|had|can|may|must|do|does)\b/i, use: 'because' },
  { pattern: /\b(is|are|lie|lies|times) apart\b/i, use: 'differ by, apart from times' },
  {
    pattern: /\bthough (there )?be\b|\bby itself goes\b|\bof few rows\b|\bwithout a word\b/i,
    use: 'a plain subject, verb, object',
  },
  { pattern: /\bforeign\b/i, use: 'off-policy' },

  // the field's terms
  { pattern: /\bway (there|back)\b/i, use: 'forward pass, backward pass' },
  { pattern: /\bthere and back\b/i, use: 'forward and backward' },
  { pattern: /\bno number\b/i, use: 'NaN' },
  { pattern: /(?<!post-)\bprocessors?\b(?!')/i, use: 'CPU' },
  { pattern: /\bmemo\b/i, use: 'cache' },

  // the training loop
  { pattern: /\bbreathe/i, use: 'yieldToEventLoop' },
  { pattern: /\brehears/i, use: 'preflight' },
  { pattern: /\bpatience/i, use: 'failureLimit' },
  { pattern: /\bclaim(s|ed|ing)?\b|\bclaimFolder\b/i, use: 'lock' },
  {
    pattern: /\bexchange\??:|\bexchange\b.*\bgradients\b/i,
    use: 'allReduceGradients',
    within: /^packages\/(trainer|cli)\//,
  },
  {
    pattern: /\bkeep\b|(?<!\bbias )\bcorrection\b/i,
    use: 'decayFactor, biasCorrection',
    within: /adamw|update\.(cc|cu)|kernels\.cu|optimizer\.ts/,
  },

  // kernels
  { pattern: /\bcomposed\b/i, use: 'portable' },
  // `span` is an element in the page of @wpo/report
  { pattern: /(^|[^<])\b\w*spans?\b/i, use: 'query block', within: /^(?!packages\/report\/(src\/page|test)\/)/ },
  { pattern: /\bsettle[sd]?\b/i, use: 'materialize' },
  { pattern: /\b(new|class|instanceof) Later\b|: Later\b/, use: 'LazyTensor' },
  { pattern: /\bthirds\b/i, use: 'bf16x3 split, split-bfloat16 product' },
  { pattern: /\bWPO_LANES\b/, use: 'WPO_ISA' },
  { pattern: /\blanes?\b/i, use: 'ISA (amx, avx512, avx2, sse), vector width', within: NATIVE_CPU },
  { pattern: /\bturn(ed)?\b[<(_]/, use: 'transpose, transposed', within: NATIVE },
  { pattern: /\b(across|along)\b(?= ?[,;)=+*.])/, use: 'row stride, depth stride', within: NATIVE },
  {
    pattern: /\b(Way|WPO_WAYS?|Machine|Half)\b|\b(struct|const|new) Products\b/,
    use: 'ISA variant, GemmArgs, interpreter, Bf16',
    within: NATIVE,
  },
  { pattern: /\bnoted\b/i, use: 'recorded', within: /^packages\/(tensorflow|gemma)\// },
];

const root = fileURLToPath(new URL('..', import.meta.url));
const TEXT = /\.(ts|mjs|js|cc|h|cu|py|md|ya?ml|sh)$|^\.ci\/run$/;
/** The lab log tells of earlier code in its own words; fixtures hold texts that others wrote. */
const SKIPPED = /^(pnpm-lock\.yaml|e2e\/terms\.test\.ts)$|\/fixtures\/|CHANGELOG\.md$|^bench\/LOG\.md$/;

/** WPO_TERMS_IN=packages/loss searches a part of the tree. */
const part = process.env.WPO_TERMS_IN ?? '';
const files = execFileSync('git', ['ls-files'], { cwd: root, encoding: 'utf8' })
  .split('\n')
  .filter((path) => path.startsWith(part) && TEXT.test(path) && !SKIPPED.test(path));
const lines = files.flatMap((path) =>
  readFileSync(join(root, path), 'utf8')
    .split('\n')
    .map((text, i) => ({ path, place: `${path}:${i + 1}: ${text.trim()}`, text })),
);

describe('retired words do not come back', () => {
  test.each(RETIRED.map((word) => ({ name: String(word.pattern), ...word })))(
    '$name: use $use',
    ({ pattern, within }) => {
      const found = lines.filter(({ path, text }) => (within?.test(path) ?? true) && pattern.test(text));
      expect(found.map(({ place }) => place)).toEqual([]);
    },
  );

  test('there are files to search', () => expect(files.length).toBeGreaterThan(part ? 0 : 300));
});
