// Reads ratings and verdicts from the text of a judge's reply. What is not stated in the asked form is not read: a judge that
// writes something else is reported, while a verdict that it did not give would go unnoticed.

/** Only the end of a very long reply is read. */
const READ_CHARACTERS = 100_000;

/**
 * A reply without the reasoning that some servers leave in it, between `<think>` and `</think>`. Text before a `</think>`
 * that was opened in the prompt is reasoning too, as is everything after a `<think>` that is not closed.
 */
export function withoutThinking(reply: string): string {
  let kept: string[] = [];
  let from = 0;
  let isThinking = false;
  for (const { 0: tag, 1: slash, index } of reply.matchAll(/[<[](\/?)(?:think|thinking|thought|reasoning)[>\]]/gi)) {
    if (slash === '') {
      if (!isThinking) kept.push(reply.slice(from, index));
      isThinking = true;
    } else {
      if (!isThinking) kept = [];
      isThinking = false;
      from = index + tag.length;
    }
  }
  return isThinking ? kept.join('') : kept.join('') + reply.slice(from);
}

/** The end of a reply without its reasoning, and without special tokens that some servers leave there: `</s>`, `<|im_end|>`. */
const readable = (reply: string): string =>
  withoutThinking(reply)
    .trim()
    .slice(-READ_CHARACTERS)
    .replace(/(?:\s{0,4}<[|/]?[a-z_]{1,20}[|]?>){1,4}$/i, '');

// Parts of the patterns below. Repetitions are bounded, so that no reply takes long.
const MARKUP = String.raw`[\s*_\`"'“”‘’]{0,8}`;
const OPEN = String.raw`(?:[[({$]|\\boxed\{){0,3}${MARKUP}`;
const CLOSE = String.raw`[\s*_\`"'“”‘’\])}>$]{0,8}`;
const SEPARATOR = String.raw`(?:[:：]|=+>?|-+>|→|is(?![a-z])|of(?![a-z])|[-–—](?=\s))?${MARKUP}`;
const label = (word: string) => `(?<![a-z])${word}(?![a-z])${MARKUP}`;

const NUMBER = String.raw`(10(?:\.0{1,9})?|[1-9](?:\.\d{1,9})?)`;
const TEN = String.raw`10(?:\.0{1,9})?(?![.,]?\d)`;
/** "(1-10)", "on a scale of 1 to 10", "out of 10": says which numbers a rating can be. */
const SCALE = [
  String.raw`[([](?!\s{0,4}\d+(?:\.\d+)?\s{0,4}[)\]])[^()[\]\n]{0,80}[)\]]`,
  String.raw`(?:on a scale )?(?:of |from )?1\s{0,4}(?:[-–—]|to|through)\s{0,4}10`,
  String.raw`(?:\/|out of|of)\s{0,4}10(?![.\d])`,
].join('|');
/** What makes a number something else than a rating from 1 to 10: a range, another scale, a longer number, a guess. */
const NOT_A_RATING = [
  String.raw`[\d%‰+?a-z]|_\w|[.,:]\d|[-–—]\w|\s{0,4}(?:[%‰?=]|<(?![/|a-z]))|[ \t]{1,4}(?:\d|(?:is|means)\b)`,
  String.raw`${CLOSE}(?:[-–—−~±]|(?:to|or|and|through)\s)${MARKUP}\d`,
  String.raw`${CLOSE}(?:\/|out of)(?!${MARKUP}${TEN})`,
  String.raw`${CLOSE}(?:[a-z]{1,12}\s{1,4})?(?:\/|out of|of)\s{1,4}(?!${TEN})\d`,
  String.raw`\s{0,4}\([^()\n]{0,40}\)\s{0,4}(?:[-–—]|to)\s{0,4}\d`,
].join('|');

const RATING = new RegExp(
  `(${label('ratings?')}(?:(?:${SCALE})${MARKUP})?${SEPARATOR}(?:<(?=[\\d.]{1,12}>)|${OPEN}))${NUMBER}(?!${NOT_A_RATING})`,
  'gi',
);
const BRACKETED_RATING = new RegExp(String.raw`\[\[\s{0,4}${NUMBER}(?:\s{0,4}\/\s{0,4}${TEN})?\s{0,4}\]\]`, 'g');
/** A last line that is a rating alone, such as `8/10`. */
const LAST_LINE_RATING = new RegExp(
  String.raw`(?:^|\n)${MARKUP}${NUMBER}${MARKUP}\/\s{0,4}${TEN}${MARKUP}[.!]?${MARKUP}$`,
  'g',
);
const ONLY_RATING = new RegExp(`^${MARKUP}${OPEN}${NUMBER}[.!]?${CLOSE}$`, 'g');

/**
 * The last rating in a judge's reply that is well-formed: "Rating: 8", "**Rating (1-10):** 8.5/10", "[[8]]", or a last line
 * such as "8/10". Undefined if there is none from 1 to 10.
 */
export function parseRating(reply: string): number | undefined {
  const text = readable(reply);
  const labelled = [...text.matchAll(RATING)].filter((match) => !isListItem(match, text));
  const found = [
    ...labelled.map(({ 2: number, index }) => ({ number, index })),
    ...[BRACKETED_RATING, LAST_LINE_RATING, ONLY_RATING].flatMap((pattern) =>
      [...text.matchAll(pattern)].map(({ 1: number, index }) => ({ number, index })),
    ),
  ];
  const last = found.sort((a, b) => a.index - b.index).at(-1);
  return last === undefined ? undefined : Number(last.number);
}

/** Whether the number is that of a list: "Rating:\n1. It is correct." or "Rating: 1) correctness". */
function isListItem({ 0: whole, 1: before, index }: RegExpExecArray, text: string): boolean {
  const after = text.slice(index + whole.length, index + whole.length + 8);
  if (before!.includes('\n') && /^[.)][ \t]+\S/.test(after)) return true;
  if (!/^\)\s*\w/.test(after)) return false;
  const line = text.slice(text.lastIndexOf('\n', index) + 1, index + whole.length);
  return line.split('(').length <= line.split(')').length;
}

const TIE = 'equal(?:ly (?:good|bad|strong|weak|helpful))?|(?:a )?(?:tie|tied|draw)';
const VERDICT = new RegExp(
  String.raw`${label('verdict')}${SEPARATOR}${OPEN}(?:(?:answer|response)\s{1,4}|it(?:[’']s| is) )?(${TIE}|[ab])(?![a-z0-9])`,
  'gi',
);
const BRACKETED_VERDICT = new RegExp(String.raw`\[\[\s{0,4}(A|B|${TIE})\s{0,4}\]\]`, 'g');
const ONLY_VERDICT = new RegExp(`^${MARKUP}${OPEN}(A|B|${TIE})[.!]?${CLOSE}$`, 'g');

const AT_END = /^[.!]?[*_`"'“”‘’\])}>$]{0,8}[.!]?[ \t]*(?:\r?\n|$)/;
const QUOTES = String.raw`^[*_\`"'“”‘’\])}>$]{0,8}`;
const BECAUSE = String.raw`\s{1,4}(?:because|since|as)\b|\s{0,4}\((?!.{0,40}(?:tie|equal|draw))|\s{1,4}[-–—]\s`;
/** What may follow a letter in its line, so that it is still the verdict. */
const AFTER_LETTER = new RegExp(
  String.raw`${QUOTES}(?:\.(?=\s)|[!;,:](?!\s{0,4}(?:(?:and|or)\s{1,4})?(?:(?:answer|response)\s{1,4})?["'*]{0,4}[ABab](?![a-z]))|${BECAUSE}` +
    String.raw`|\s{1,4}wins\b|\s{1,4}is (?:the |clearly |slightly |much ){0,2}(?:better|best|winner|stronger|preferred|superior)\b)`,
);
const AFTER_TIE = new RegExp(
  String.raw`${QUOTES}(?:\.(?=\s)|[!;,](?!\s{0,4}(?:but|although|though|however|with)\b)|\s{1,4}between\b|${BECAUSE})`,
);

/**
 * The last verdict in a judge's reply that is well-formed, such as "Verdict: A", "**Verdict:** [[B]]", "Verdict: a tie":
 * 1 for A, 0 for B, 0.5 for a tie. Undefined if there is none.
 */
export function parseVerdict(reply: string): number | undefined {
  const text = readable(reply);
  const isStated = ({ 0: whole, 1: word, index }: RegExpExecArray) => {
    const after = text.slice(index + whole.length, index + whole.length + 80);
    if (AT_END.test(after)) return true;
    if (word!.length > 1) return AFTER_TIE.test(after);
    return word !== 'a' && word !== 'b' && AFTER_LETTER.test(after); // "a" may be an article
  };
  const found = [
    ...[...text.matchAll(VERDICT)].filter(isStated),
    ...[BRACKETED_VERDICT, ONLY_VERDICT].flatMap((pattern) => [...text.matchAll(pattern)]),
  ];
  const word = found.sort((a, b) => a.index - b.index).at(-1)?.[1];
  return word === undefined ? undefined : /^a$/i.test(word) ? 1 : /^b$/i.test(word) ? 0 : 0.5;
}
