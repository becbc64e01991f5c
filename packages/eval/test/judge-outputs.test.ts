import { expect, test } from 'vitest';
import { type JudgeRequest, judgeOutputs, type ModelOutput, pairOutputs } from '../src/index';

const output = (instruction: string, text: string, generator: string, dataset?: string): ModelOutput => ({
  instruction,
  output: text,
  generator,
  ...(dataset === undefined ? {} : { dataset }),
});

const baseline = [output('a', 'A1', 'base', 'koala'), output('b', 'B1', 'base'), output('a', 'A2', 'base')];
const model = [output('b', 'B', 'mine', 'vicuna'), output('c', 'C', 'mine'), output('a', 'A', 'mine')];

test('answers are paired by instruction in the baseline’s order, and what has no partner is left out', () => {
  expect(pairOutputs(baseline, model)).toEqual([
    { instruction: 'a', dataset: 'koala', output_1: 'A1', generator_1: 'base', output_2: 'A', generator_2: 'mine' },
    { instruction: 'b', dataset: 'vicuna', output_1: 'B1', generator_1: 'base', output_2: 'B', generator_2: 'mine' },
  ]);
});

test('an instruction that stands twice has its first answers together, and its second', () => {
  const twice = pairOutputs(baseline, [output('a', 'X', 'mine'), output('a', 'Y', 'mine')]);
  expect(twice.map(({ output_1, output_2 }) => [output_1, output_2])).toEqual([
    ['A1', 'X'],
    ['A2', 'Y'],
  ]);
});

const pairs = ['p', 'q', 'r', 's'].map((name) => ({
  instruction: name,
  output_1: `${name} base`,
  generator_1: 'base',
  output_2: `${name} mine`,
  generator_2: 'mine',
}));

test('each pair is judged in both orders, and the mean is the model’s share', async () => {
  const asked: JudgeRequest[] = [];
  const judge = async (request: JudgeRequest) => {
    asked.push(request);
    // likes the model's answer by 0.9 where it stands second, by 0.6 where it stands first
    return request.output_2.endsWith('mine') ? { preference: 1.9, text: 'M' } : { preference: 1.4, text: 'm' };
  };
  const [row] = await judgeOutputs({ pairs: pairs.slice(0, 1), judge, annotator: 'wise' });
  expect(asked).toEqual([
    { instruction: 'p', output_1: 'p base', output_2: 'p mine' },
    { instruction: 'p', output_1: 'p mine', output_2: 'p base' },
  ]);
  expect(row).toEqual({
    ...pairs[0],
    annotator: 'wise',
    preference: expect.closeTo(1.75, 12),
    raw_completion: ['M', 'm'],
  });
});

test('a judge who always takes the first place ends in draws', async () => {
  const rows = await judgeOutputs({ pairs, judge: async () => ({ preference: 1, text: 'm' }), annotator: 'lazy' });
  expect(rows.map(({ preference }) => preference)).toEqual([1.5, 1.5, 1.5, 1.5]);
});

test('equal answers are a draw without asking; an order without an answer leaves no preference', async () => {
  const same = { ...pairs[0]!, output_2: pairs[0]!.output_1 };
  let asked = 0;
  const judge = async () => ({ preference: ++asked === 1 ? 2 : null, text: '' });
  const rows = await judgeOutputs({ pairs: [same, pairs[1]!], judge, annotator: 'shy' });
  expect(rows.map(({ preference }) => preference)).toEqual([1.5, null]);
  expect(asked).toBe(2);
});

test('rows come in the pairs’ order however many are asked about at once, and each is counted', async () => {
  const counts: number[] = [];
  const judge = async ({ instruction }: JudgeRequest) => {
    await new Promise((resolve) => setTimeout(resolve, instruction === 'p' ? 20 : 1));
    return { preference: 2, text: 'M' };
  };
  const onProgress = (done: number) => void counts.push(done);
  const rows = await judgeOutputs({ pairs, judge, annotator: 'slow', concurrency: 3, onProgress });
  expect(rows.map(({ instruction }) => instruction)).toEqual(['p', 'q', 'r', 's']);
  expect(counts).toEqual([1, 2, 3, 4]);
});

test('a failed question ends the run, unless failures are heard: then its pair alone is left out', async () => {
  const judge = async ({ instruction }: JudgeRequest) => {
    if (instruction === 'q') throw new Error('no judge');
    return { preference: 2, text: 'M' };
  };
  await expect(judgeOutputs({ pairs, judge, annotator: 'x' })).rejects.toThrow('no judge');
  const failed: string[] = [];
  const onError = (_: unknown, { instruction }: { instruction: string }) => void failed.push(instruction);
  const rows = await judgeOutputs({ pairs, judge, annotator: 'x', onError });
  expect(rows.map(({ instruction }) => instruction)).toEqual(['p', 'r', 's']);
  expect(failed).toEqual(['q']);
});
