// Chooses pairs with long prompts and short answers from a file of preference rows:
//   node bench/choose-long-pairs.mjs ROWS.jsonl > bench/long-pairs.jsonl
import { readFileSync } from 'node:fs';

const PROMPT = [700, 1600];
const ANSWER = [120, 450]; // characters

const within = (text, [min, max]) => text.length >= min && text.length <= max;
const answer = (messages) => messages.at(-1).content;

for (const line of readFileSync(process.argv[2], 'utf8').trim().split('\n')) {
  const { prompt, prompt_id, chosen, rejected, source } = JSON.parse(line);
  if (!within(prompt, PROMPT) || ![chosen, rejected].every((side) => within(answer(side), ANSWER))) continue;
  console.log(JSON.stringify({ prompt, prompt_id, chosen, rejected, source }));
}
