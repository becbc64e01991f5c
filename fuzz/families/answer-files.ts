import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { RowError } from '@wpo/data';
import { pairAnswerFiles } from '@wpo/data/node';
import { answerKey, EvaluationError } from '@wpo/eval';
import { indexAnswers, readAnswers, readOutputs, readPrompts, rewardsFile } from '@wpo/eval/node';
import fc from 'fast-check';
import { expectPlainError, type Family, mutatedBytes, mutatedJson, mutatedText } from '../family';

// biome-ignore format: one row a line
const ANSWERS: readonly object[] = [
  { prompt_id: 'a', prompt: 'Name a river.', completion: 'The\u2028Rhine.', source: 'own', seed: 13, finish_reason: 'stop', score: 2 },
  { prompt_id: 7, prompt: [{ role: 'user', content: 'b' }], completion: 'x', source: 'own', seed: null, score: null, system: 's' },
  { prompt_id: 7, prompt: [{ role: 'user', content: 'b' }], completion: null, source: 'own', seed: 21, score: 1, system: 's' },
  { prompt: 'c', completion: '', source: 'far' },
];
const REWARDS: readonly unknown[] = [
  { prompt_id: 'a', source: 'own', seed: 13, score: 1.5 },
  { prompt_id: 7, source: 'own', seed: null, score: null },
  { prompt_id: '7', source: 'own', seed: 21, score: -1 },
];
const jsonl = (rows: readonly unknown[]) => rows.map((row) => JSON.stringify(row)).join('\n');

const fileOf = (rows: readonly unknown[]): fc.Arbitrary<Uint8Array> =>
  fc.oneof(
    mutatedText([jsonl(rows), JSON.stringify(rows, null, 1)]).map((text) => Buffer.from(text)),
    mutatedBytes([Buffer.from(jsonl(rows))]),
    mutatedJson([rows]).map((value) =>
      Buffer.from(Array.isArray(value) ? jsonl(value) : (JSON.stringify(value) ?? '')),
    ),
  );

async function drain(rows: AsyncIterable<unknown>) {
  for await (const _ of rows);
}

/** Answers, prompts, outputs and rewards are read, or refused with an error that names the file. */
export const family: Family<{ answers: Uint8Array; rewards: Uint8Array }> = {
  name: 'answer-files',
  input: fc.record({ answers: fc.oneof(fileOf(ANSWERS), fileOf([ANSWERS[0], ANSWERS[3]])), rewards: fileOf(REWARDS) }),
  async check({ answers, rewards }, { folder, count }) {
    const [answersPath, rewardsPath] = [join(folder, 'answers.jsonl'), join(folder, 'rewards.jsonl')];
    writeFileSync(answersPath, answers);
    writeFileSync(rewardsPath, rewards);
    const attempt = async (name: string, read: () => Promise<unknown>) => {
      try {
        await read();
        count(`${name}: read`);
      } catch (error) {
        expectPlainError(error);
        if (!(error instanceof RowError || error instanceof EvaluationError)) throw error;
        if (!error.message.startsWith(folder)) throw new Error(`expected the file first: ${error.message}`);
        count(`${name}: refused`);
      }
    };
    await attempt('answers', () => drain(readAnswers([answersPath])));
    await attempt('prompts', () => readPrompts(answersPath));
    await attempt('outputs', () => readOutputs(answersPath));
    await attempt('rewards', async () => {
      const keys = [
        answerKey({ prompt_id: 'a', source: 'own', seed: 13 }),
        answerKey({ prompt_id: '7', source: 'own' }),
      ];
      await rewardsFile(rewardsPath, [...keys, null]);
    });
    await attempt('pairs', async () => {
      const { rows } = await pairAnswerFiles([answersPath], { onBadRow: 'skip' });
      await drain(rows);
    });
    await attempt('index', async () => {
      const { texts, rows } = await indexAnswers([answersPath]);
      if (rows.filter((key) => key !== null).length !== texts.size)
        throw new Error('an answer is missing in the index');
    });
  },
};
