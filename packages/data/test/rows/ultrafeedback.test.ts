import { fc, it as itProperty } from '@fast-check/vitest';
import { describe, expect, it } from 'vitest';
import { answersOf, bestAgainstWorst, rowParser } from '../../src/index';
import { thrown } from '../fixtures';

const at = { file: 'evol_instruct.jsonl', line: 3 };

/** As openbmb/UltraFeedback has them. */
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

describe('answersOf', () => {
  it('gives a row’s four answers with their scores', () => {
    const answers = answersOf({ ...row, prompt_id: 12 }, at);
    expect(answers).toHaveLength(4);
    expect(answers[0]).toEqual({
      prompt_id: '12',
      prompt: 'Name a river.',
      completion: 'The Danube, which flows through ten countries.',
      source: 'gpt-4',
      score: 8.5,
    });
    expect(answers.map(({ source }) => source)).toEqual(row.models);
    expect(answersOf(row, at)[0]?.prompt_id).toBe('evol_instruct.jsonl:3');
  });

  it('takes the mean of the aspects where there is no overall score, and none where there is neither', () => {
    const completions = [completion('a', 'x', null), completion('b', 'y', 'N/A', Number.NaN)];
    const answers = answersOf({ ...row, completions }, at);
    expect(answers[0]?.score).toBe(3.5);
    expect(answers[1]).not.toHaveProperty('score');
  });

  it('says what a row lacks', () => {
    const said = (value: unknown) => (thrown(() => answersOf(value, at)) as Error).message;
    expect(said([])).toContain('evol_instruct.jsonl:3: found no object, wanted UltraFeedback’s own layout');
    expect(said({ completions: [] })).toContain('"instruction": found no text');
    expect(said({ instruction: 'i', completions: null })).toContain('"completions": found no list');
    expect(said({ ...row, completions: [{ model: 'm' }] })).toContain('"completions[0].response": found no text');
    expect(said({ ...row, completions: [null] })).toContain('"completions[0]": found no object');
  });
});

describe('bestAgainstWorst', () => {
  it('sets the shortest of the best against the worst that is closest to it in length', () => {
    expect(bestAgainstWorst(row, at)).toMatchObject({
      prompt: 'Name a river.',
      chosen: 'The Rhine.',
      rejected: 'Paris.',
      score_chosen: 8.5,
      score_rejected: 2,
    });
  });

  it('passes over answers that are empty or have no score', () => {
    const completions = [...row.completions, completion('e', ' ', 10), completion('n', 'x', 'N/A', Number.NaN)];
    expect(bestAgainstWorst({ ...row, completions }, at)).toMatchObject({ chosen: 'The Rhine.' });
  });

  it('refuses a row whose scores do not differ', () => {
    const completions = row.completions.slice(0, 2);
    expect(() => bestAgainstWorst({ ...row, completions }, at)).toThrow(
      '"completions": found scores 8.5, 8.5, wanted two',
    );
    expect(() => bestAgainstWorst({ ...row, completions: [] }, at)).toThrow('found scores nowhere');
  });

  it('is how raw rows are read as preferences', () => {
    expect(rowParser()(row, at)).toMatchObject({
      id: 'evol_instruct.jsonl:3',
      chosen: 'The Rhine.',
      rejected: 'Paris.',
      scores: { chosen: 8.5, rejected: 2 },
    });
  });

  itProperty.prop([fc.array(fc.tuple(fc.string({ minLength: 1 }), fc.integer({ min: 1, max: 4 })), { minLength: 2 })])(
    'never prefers an answer of a lower score',
    (answers) => {
      const completions = answers.map(([response, score], i) => completion(`m${i}`, `${response}.`, score));
      const scores = answers.map(([, score]) => score);
      if (new Set(scores).size === 1) return;
      const pair = bestAgainstWorst({ ...row, completions }, at);
      expect(pair).toMatchObject({ score_chosen: Math.max(...scores), score_rejected: Math.min(...scores) });
      expect(answers).toContainEqual([String(pair.chosen).slice(0, -1), pair.score_chosen]);
      expect(answers).toContainEqual([String(pair.rejected).slice(0, -1), pair.score_rejected]);
    },
  );
});
