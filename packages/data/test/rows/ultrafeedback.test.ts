import { fc, it as itProperty } from '@fast-check/vitest';
import { describe, expect, it } from 'vitest';
import { rowParser } from '../../src/rows/layouts';
import { fromUltraFeedback, ultraFeedbackAnswers } from '../../src/rows/ultrafeedback';
import { thrown } from '../fixtures';

const at = { file: 'evol_instruct.jsonl', line: 3 };

/** A completion as in openbmb/UltraFeedback. */
const completion = (model: string, response: string, overall_score: unknown, fine = 3.5) => ({
  annotations: { helpfulness: { Rating: '5', Rationale: 'Good.', Type: ['1'] } },
  custom_system_prompt: 'As an AI assistant, be honest.',
  model,
  principle: 'honesty',
  response,
  critique: 'Fine.',
  overall_score,
  'fine-grained_score': fine,
});
const row = {
  source: 'evol_instruct',
  instruction: 'Name a river.',
  models: ['gpt-4', 'llama-2-7b-chat', 'alpaca-7b', 'wizardlm-7b'],
  completions: [
    completion('gpt-4', 'The Danube, which flows through ten countries.', 8.5),
    completion('llama-2-7b-chat', 'The Rhine.', 8.5),
    completion('alpaca-7b', 'Paris.', 2),
    completion('wizardlm-7b', 'I am a river, and long too.', 2),
  ],
};

describe('ultraFeedbackAnswers', () => {
  it('returns a row’s four answers with their scores', () => {
    const answers = ultraFeedbackAnswers({ ...row, prompt_id: 12 }, at);
    expect(answers).toHaveLength(4);
    expect(answers[0]).toEqual({
      prompt_id: '12',
      prompt: 'Name a river.',
      completion: 'The Danube, which flows through ten countries.',
      source: 'gpt-4',
      score: 8.5,
    });
    expect(answers.map(({ source }) => source)).toEqual(row.models);
    expect(ultraFeedbackAnswers(row, at)[0]?.prompt_id).toBe('evol_instruct.jsonl:3');
  });

  it('uses the mean of the aspects if there is no overall score, and no score if there is neither', () => {
    const completions = [completion('a', 'x', null), completion('b', 'y', 'N/A', Number.NaN)];
    const answers = ultraFeedbackAnswers({ ...row, completions }, at);
    expect(answers[0]?.score).toBe(3.5);
    expect(answers[1]).not.toHaveProperty('score');
  });

  it('names the field that a row lacks', () => {
    const messageOf = (value: object) =>
      (thrown(() => ultraFeedbackAnswers(value as Record<string, unknown>, at)) as Error).message;
    expect(messageOf({ completions: [] })).toMatch(/^evol_instruct.jsonl:3: instruction: expected .*, found no text/);
    expect(messageOf({ instruction: 'i', completions: null })).toMatch(/ completions: expected .*, found no list/);
    expect(messageOf({ ...row, completions: [{ model: 'm' }] })).toMatch(
      / completions\[0\].response: .*, found no text/,
    );
    expect(messageOf({ ...row, completions: [null] })).toMatch(/ completions\[0\]: .*, found no object/);
  });
});

describe('fromUltraFeedback', () => {
  it('pairs the shortest of the best with the one of the worst that is closest in length', () => {
    expect(fromUltraFeedback(row, at)).toMatchObject({
      prompt: 'Name a river.',
      chosen: 'The Rhine.',
      rejected: 'Paris.',
      score_chosen: 8.5,
      score_rejected: 2,
    });
  });

  it('ignores answers that are empty or have no score', () => {
    const completions = [...row.completions, completion('e', ' ', 10), completion('n', 'x', 'N/A', Number.NaN)];
    expect(fromUltraFeedback({ ...row, completions }, at)).toMatchObject({ chosen: 'The Rhine.' });
  });

  it('rejects a row whose scores do not differ', () => {
    const completions = row.completions.slice(0, 2);
    expect(() => fromUltraFeedback({ ...row, completions }, at)).toThrow(
      'completions: expected two answers whose scores differ, found the scores 8.5, 8.5',
    );
    expect(() => fromUltraFeedback({ ...row, completions: [] }, at)).toThrow('found no scores');
  });

  it('is applied to raw rows', () => {
    expect(rowParser().parse(row, at)).toMatchObject({
      id: 'evol_instruct.jsonl:3',
      chosen: 'The Rhine.',
      rejected: 'Paris.',
      scores: { chosen: 8.5, rejected: 2 },
    });
  });

  itProperty.prop([fc.array(fc.tuple(fc.string({ minLength: 1 }), fc.integer({ min: 1, max: 4 })), { minLength: 2 })])(
    'never prefers an answer with a lower score',
    (answers) => {
      const completions = answers.map(([response, score], i) => completion(`m${i}`, `${response}.`, score));
      const scores = answers.map(([, score]) => score);
      if (new Set(scores).size === 1) return;
      const pair = fromUltraFeedback({ ...row, completions }, at);
      expect(pair).toMatchObject({ score_chosen: Math.max(...scores), score_rejected: Math.min(...scores) });
      expect(answers).toContainEqual([String(pair.chosen).slice(0, -1), pair.score_chosen]);
      expect(answers).toContainEqual([String(pair.rejected).slice(0, -1), pair.score_rejected]);
    },
  );
});
