import { boolean, choice, path, paths, text } from './fields';
import { type ConfigOf, commandSchema } from './schema';
import { API_KEY_NOTE, judgeMaxTokens, requestFields, resumableFile } from './shared';

/** `wpo score`. */
export const scoreSchema = commandSchema({
  name: 'score',
  summary: 'score answers with a reward model, a judge, or a file',
  description: [
    'Gives each answer a score; higher is better. The scores come from a file (--rewards), from a reward model on a server ' +
      '(--endpoint), or from a chat model that rates or compares answers (--judge). Writes the same rows with two more ' +
      'fields, score and scored_by.',
    'Run the same command again to resume: answers that are already in the file are not scored again.',
  ],
  fields: {
    answers: paths({
      required: true,
      help: 'JSONL files of answers, as wpo sample writes them',
      flag: { placeholder: 'files' },
    }),
    out: resumableFile,
    rewards: path('file', {
      help: 'JSONL file of scores: {"score": number, "prompt_id", "source", "seed": optional}',
      flag: { conflicts: ['endpoint', 'judge'] },
    }),
    endpoint: path('server', { help: 'address of a server with a reward model', flag: { conflicts: ['judge'] } }),
    api: choice(
      {
        pooling: 'POST /pooling with the conversation',
        classify: 'POST /classify with the conversation',
        score: 'POST /score with prompt and answer as two texts',
      },
      { default: 'pooling', help: 'path of the requests to the reward model’s server', flag: { placeholder: 'path' } },
    ),
    judge: path('server', {
      help: 'address of an OpenAI-compatible server whose model rates each answer from 1 to 10',
    }),
    compare: boolean({ help: 'have the judge compare every two answers to a prompt instead, in both orders' }),
    judgeMaxTokens: judgeMaxTokens('nothing', '2048'),
    model: text('the name of a model', { help: 'name of the model on the server (default: the only one there)' }),
    ...requestFields,
  },
  check({ rewards, endpoint, judge, compare }, name) {
    const given = (['rewards', 'endpoint', 'judge'] as const).filter((field) => ({ rewards, endpoint, judge })[field]);
    if (compare && judge === undefined) {
      return [{ field: 'compare', expected: `${name('judge')} with it`, found: 'no judge' }];
    }
    if (given.length === 1) return [];
    const [first = 'rewards'] = given;
    const expected = `exactly one of ${name('rewards')}, ${name('endpoint')} and ${name('judge')}`;
    return [{ field: first, expected, found: given.map(name).join(' and ') || 'none of them' }];
  },
  notes: [API_KEY_NOTE],
  examples: [
    'wpo score --answers answers.jsonl --rewards rewards.jsonl --out scored.jsonl',
    'wpo score --answers answers.jsonl gpt4.jsonl --endpoint http://localhost:8001 --api classify --out scored.jsonl',
    'wpo score --answers answers.jsonl --judge http://localhost:8002/v1 --compare --out scored.jsonl',
  ],
});

/** The configuration of `wpo score`. @interface */
export type ScoreConfig = { [K in keyof ConfigOf<typeof scoreSchema>]: ConfigOf<typeof scoreSchema>[K] };
