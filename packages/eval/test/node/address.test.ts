import { expect, test } from 'vitest';
import { parseAddress } from '../../src/node';

test.each([
  ['http://localhost:8000', 'http://localhost:8000/v1', 'http://localhost:8000', ''],
  ['http://localhost:8000/', 'http://localhost:8000/v1', 'http://localhost:8000', ''],
  ['http://localhost:8000/v1/', 'http://localhost:8000/v1', 'http://localhost:8000', ''],
  ['https://host/judge', 'https://host/judge/v1', 'https://host/judge', ''],
  ['https://host/judge/v1', 'https://host/judge/v1', 'https://host/judge', ''],
  ['https://host/v1beta/openai/', 'https://host/v1beta/openai', 'https://host/v1beta/openai', ''],
  ['https://host/api/paas/v4', 'https://host/api/paas/v4', 'https://host/api/paas/v4', ''],
  ['https://host/v1?api-version=2024-10-21', 'https://host/v1', 'https://host', '?api-version=2024-10-21'],
  ['https://host?a=b', 'https://host/v1', 'https://host', '?a=b'],
  [
    'https://me.openai.azure.com/openai/deployments/gpt-4o?api-version=2024-10-21',
    'https://me.openai.azure.com/openai/deployments/gpt-4o',
    'https://me.openai.azure.com/openai/deployments/gpt-4o',
    '?api-version=2024-10-21',
  ],
  ['https://host/inference/chat/completions', 'https://host/inference', 'https://host/inference', ''],
  ['https://host/v1/chat/completions?a=b#c', 'https://host/v1', 'https://host', '?a=b'],
])('%s has the base %s', (address, openai, root, query) => {
  expect(parseAddress(address)).toEqual({ openai, root, query });
});

test.each([
  ['http://ada:p%40ss@host', 'ada:p@ss'],
  ['http://:p%40ss@host', ':p@ss'],
  ['http://ada@host', 'ada:'],
  ['http://ada:100%@host', 'ada:100%'], // a stray percent sign
])('%s has the credentials %s', (address, credentials) => {
  expect(parseAddress(address)).toEqual({ openai: 'http://host/v1', root: 'http://host', query: '', credentials });
});

test.each([
  ['ada:p4ss@host:8000/v1'],
  ['http:ada:p4ss@'],
  ['ftp://ada:p4ss@host'],
  ['http//ada:p4ss@host'],
  ['http://ada:x/p4ss@host'],
  ['http://ada:p4ss@host:99999'],
  ['ada:p4ss@host\n\u001b[2J'],
  ['http://host:x?key=p4ss'],
  ['http://host:x#p4ss'],
  ['localhost:8000/v1'],
  ['http://'],
  [''],
])('the error about the address %j shows no password and no control characters', (address) => {
  expect(() => parseAddress(address)).toThrow(
    /^server address: expected an http or https URL, found "[ -~]*"\. Write it/,
  );
  expect(() => parseAddress(address)).not.toThrow(/p4ss/);
});
