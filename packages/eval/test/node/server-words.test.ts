import { expect, test } from 'vitest';
import { errorIn, refusedField, serverWords } from '../../src/node/server-words';

test.each([
  ['{"error": {"message": "too long", "code": 400}}', 'too long'], // OpenAI
  ['{"object": "error", "message": "no model", "code": 404}', 'no model'], // older vLLM
  ['{"error": "validation failed"}', 'validation failed'], // text-generation-inference
  ['{"detail": "Not Found"}', 'Not Found'], // FastAPI
  ['{"detail": [{"loc": ["body", "seed"], "msg": "not permitted", "input": "secret"}]}', 'seed: not permitted'],
  ['[{"error": {"message": "Invalid JSON payload"}}]', 'Invalid JSON payload'], // Google
  [
    '{"error": {"message": "Provider returned error", "metadata": {"raw": "model is overloaded"}}}',
    'Provider returned error model is overloaded',
  ], // OpenRouter
  ['{"error": {"code": 3}}', '{"error": {"code": 3}}'],
  ['{"error": ', '{"error":'],
  ['<h1>Bad\n gateway</h1>', '<h1>Bad gateway</h1>'],
  ['null', 'null'],
  ['', ''],
])('the words in %j are %j', (body, words) => expect(serverWords(body)).toBe(words));

const sent = { model: 'm', temperature: 0, top_p: 0.9, seed: 1, max_tokens: 5, logprobs: true, top_logprobs: 5 };

const said = (message: string, more: object = {}) => JSON.stringify({ error: { message, ...more } });

test.each([
  [
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
    'max_tokens',
  ],
  [
    "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported.",
    'temperature',
  ],
  ['`temperature` has to be a strictly positive float', 'temperature'],
  ['temperature must be > 0', 'temperature'],
  ['`temperature` and `top_p` cannot both be specified for this model. Please use only one.', 'top_p'],
  ['Unrecognized request argument supplied: logprobs', 'logprobs'],
  ["This model does not support the 'logprobs' parameter.", 'logprobs'],
  ['You are not allowed to request logprobs from this model', 'logprobs'],
  ['Logprobs is not enabled for models/gemini-2.5-pro', 'logprobs'],
  ["doesn't support logprobs. Please remove 'logprobs'/'top_logprobs' from your request", 'logprobs'],
  ['Argument not supported on this model: topLogprobs', 'top_logprobs'],
  ['unknown field `seed`', 'seed'],
  ['seed: Extra inputs are not permitted', 'seed'],
  [
    "'max_tokens' or 'max_completion_tokens' is too large: 5. This model's maximum context length is 4096 tokens.",
    undefined,
  ],
  ['max_tokens or model output limit was reached', undefined],
  ['The prompt is too long', undefined],
  ['Unknown model m', undefined],
  ['n is not supported', undefined], // was not sent
])('%j refuses the field %s', (message, field) => {
  expect(refusedField(said(message), sent)).toBe(field);
  expect(refusedField(JSON.stringify({ detail: message }), sent)).toBe(field);
});

test('an error that names the field in `param` refuses that field, if it was sent', () => {
  const code = { code: 'unsupported_value' };
  expect(refusedField(said('No.', { ...code, param: 'top_p' }), sent)).toBe('top_p');
  expect(refusedField(said('No.', { ...code, param: 'stop' }), sent)).toBeUndefined();
  const detail = [
    { type: 'extra_forbidden', loc: ['body', 'seed'], msg: 'Extra inputs are not permitted', input: sent },
  ];
  expect(refusedField(JSON.stringify({ detail }), sent)).toBe('seed');
});

test('a reply with status 200 is an error if it has one and no result', () => {
  expect(errorIn({ error: { message: 'no', code: 429 } })).toEqual({ code: 429 });
  expect(errorIn({ error: 'no' })).toEqual({ code: undefined });
  expect(errorIn({ error: { code: '503' } })).toEqual({ code: 503 });
  for (const code of [{ toString: 1 }, [429], null, true, 'x', 4, 429.5, 1e300]) {
    expect(errorIn({ error: { code } })).toEqual({ code: undefined });
  }
  expect(errorIn({ error: null, choices: [] })).toBeUndefined();
  expect(errorIn({ choices: [{}], error: 'x' })).toBeUndefined();
  for (const reply of [null, 7, 'error', [], {}]) expect(errorIn(reply)).toBeUndefined();
});
