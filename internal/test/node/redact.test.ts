import { describe, expect, test } from 'vitest';
import { printableAddress, redact } from '../../src/node/redact';

describe('redact', () => {
  const key = 'sk-Key+with/odd.characters==';
  test.each([
    ['as it is', `refused Bearer ${key}.`, 'refused Bearer ***.'],
    ['twice', `${key} ${key}`, '*** ***'],
    ['URL-encoded', `key=${encodeURIComponent(key)}&x=1`, 'key=***&x=1'],
    ['in base64', `Basic ${Buffer.from(key).toString('base64')}`, 'Basic ***'],
    ['broken by a line end', `${key.slice(0, 9)}\r\n ${key.slice(9)}!`, '***!'],
    ['broken by a line end in JSON', `"${key.slice(0, 9)}\\r\\n${key.slice(9)}"`, '"***"'],
    ['cut off at the end', `Authorization: Bearer ${key.slice(0, 12)}`, 'Authorization: Bearer ***'],
  ])('masks a key %s', (_, text, expected) => {
    expect(redact(text, [key, undefined])).toBe(expected);
  });

  test('masks user name and password of an echoed Authorization header', () => {
    const echo = `Basic ${Buffer.from('user:p w').toString('base64')} for user:p w`;
    expect(redact(echo, ['user:p w', 'p w'])).toBe('Basic *** for ***');
  });

  test('reads 16 MB of white space after the beginning of a key', () => {
    const text = `${key[0]}${' '.repeat(16 << 20)}`;
    expect(redact(text, [key]).length).toBe(text.length);
  });

  test('masks the longer of two secrets first, and ignores empty ones', () => {
    expect(redact('abc abcdef', ['abc', 'abcdef', '', undefined])).toBe('*** ***');
    expect(redact('unchanged', ['', undefined])).toBe('unchanged');
  });
});

test.each([
  ['http://localhost:8000/v1', 'http://localhost:8000/v1'],
  ['localhost:8000/v1', 'localhost:8000/v1'],
  ['https://user:pw@host:8000/v1', 'https://***@host:8000/v1'],
  ['user:pw@host:8000/v1', '***@host:8000/v1'],
  ['http:/user:pw@host', '***@host'],
  ['https://user:p/w?x#y@z@host/v1', 'https://***@host/v1'],
  ['https://host/v1?api-key=secret', 'https://host/v1?***'],
  ['https://host/v1#secret', 'https://host/v1#***'],
  ['user:pw\n@host\x1b[2J', '***@host\\u001b[2J'],
])('the address %j is printed as %s', (address, expected) => {
  expect(printableAddress(address)).toBe(expected);
});
