import { ChatTemplateError, type Message, renderChat } from '@wpo/data';
import fc from 'fast-check';
import { expectPlainError, type Family, mutatedText } from '../family';

const GEMMA =
  "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" +
  "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}" +
  "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}" +
  "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}" +
  "{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}";
const SEEDS = [
  GEMMA,
  "{% macro turn(m, end='|') %}<|{{ m.role }}|>{{ m.content.strip() ~ end }}{{ caller() if caller }}{% endmacro %}" +
    "{% set ns = namespace(n=0, text='') %}{% for m in messages[::-1] if m.role is string %}{% set ns.n = ns.n + 1 %}" +
    "{% set ns.text = ns.text ~ turn(m, end=loop.index * '-') %}{% if loop.last %}{% break %}{% endif %}{% endfor %}{{ ns.text }}{{ ns }}",
  "{{ messages | map(attribute='content') | join('x' * 10) | replace('', 'ab') | indent(10) }}{{ messages | tojson(indent=2) }}" +
    '{% for i in range(100000) %}{{ range(100) | list | sort(reverse=true) | length }}{% endfor %}{{ [messages, messages] * 100 }}',
  "{{ messages.constructor.constructor('return process')() }}{{ ''['__proto__'] }}{{ raise_exception.call.apply }}{{ loop.cycle }}",
];
// biome-ignore format: one table
const FRAGMENTS = [
  'range(100000)', "* 100000000", "'a' * 1000000", '**', 'range(2)', '| list', '| tojson', '| string', '| unique', '.constructor', "['constructor']",
  '.__proto__', '.prototype', '.items()', ".split('a')", "| replace('a', 'aa')", '~ ns.text', '[ns, ns]', '{% set ns.x = ns %}', '{% for i in range(1000) %}',
  '{% endfor %}', '{% if 1 %}', '{% endif %}', '{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}', '((((((((', '))))))))', '[[[[[[[[', '-----', 'not not not',
  ' '.repeat(1500), '{% generation %}', 'process', 'globalThis', "raise_exception('\\u001b[2J')", "'\\u2028'", 'undefined.x', 'messages[9].x.y',
];

const MESSAGES: readonly Message[] = [
  { role: 'user', content: '  what\n\u001b[2J <b>“it”</b> 💥 ' },
  { role: 'assistant', content: 'a\u2028b' },
  { role: 'user', content: 'c' },
];

/** Templates with damage at random places. Most are refused when they are parsed. */
const damaged = fc
  .tuple(mutatedText(SEEDS), fc.array(fc.tuple(fc.nat(), fc.constantFrom(...FRAGMENTS)), { maxLength: 4 }))
  .map(([text, pieces]) =>
    pieces.reduce((sofar, [where, piece]) => {
      const at = where % (sofar.length + 1);
      return sofar.slice(0, at) + piece + sofar.slice(at);
    }, text),
  );

// biome-ignore format: one table
const NAMES = [
  'messages', 'message', 'bos_token', 'ns', 'loop', 'loop.index0', 'range', 'namespace', 'raise_exception', 'strftime_now', 'f', 'undefined', 'true',
  'none', '0', '1', '2.5', '-3', '10 ** 9', "''", "'a'", "'role'", "'\u2028'", '[]', '{}', 'process', 'self', 'messages[0]', "message['content']",
];
// biome-ignore format: one table
const FILTERS = [
  'trim', 'list', 'length', 'string', 'int', 'float', 'tojson', 'upper', 'title', 'join', 'unique', 'sort', 'reverse', 'first', 'last', 'items', 'safe',
  "map('upper')", "selectattr('role', 'equalto', 'user')", "replace('a', 'bb')", 'indent(1000000)', "join('a' * 1000)", 'default(0)', 'tojson(indent=9)',
];
const ATTRIBUTES = [
  'role',
  'content',
  'constructor',
  '__proto__',
  '__class__',
  'prototype',
  'items()',
  "split('')",
  'upper()',
  'append(1)',
  'x',
];
const OPERATORS = ['+', '-', '*', '/', '//', '%', '**', '~', '==', '<', 'and', 'or', 'in', 'not in', 'is', 'if'];

/** Templates whose syntax is right, so that they are rendered. */
const { template: wellFormed } = fc.letrec<{ expression: string; statement: string; template: string }>((tie) => ({
  expression: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constantFrom(...NAMES),
    fc.tuple(tie('expression'), fc.constantFrom(...FILTERS)).map(([value, filter]) => `(${value} | ${filter})`),
    fc.tuple(tie('expression'), fc.constantFrom(...ATTRIBUTES)).map(([value, name]) => `(${value}).${name}`),
    fc.tuple(tie('expression'), tie('expression')).map(([value, key]) => `(${value})[${key}]`),
    fc
      .tuple(tie('expression'), fc.constantFrom(...OPERATORS), tie('expression'))
      .map(([left, operator, right]) =>
        operator === 'is'
          ? `(${left} is defined)`
          : `(${left} ${operator} ${right}${operator === 'if' ? ' else 1' : ''})`,
      ),
    fc
      .tuple(tie('expression'), fc.array(tie('expression'), { maxLength: 2 }))
      .map(([f, values]) => `${f}(${values.join(', ')})`),
    fc.array(tie('expression'), { maxLength: 3 }).map((values) => `[${values.join(', ')}]`),
  ),
  statement: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    tie('expression').map((value) => `{{ ${value} }}`),
    tie('expression').map((value) => `{% set ns = namespace(x=${value}) %}`),
    fc.tuple(tie('expression'), tie('template')).map(([value, body]) => `{% if ${value} %}${body}{% endif %}`),
    fc
      .tuple(tie('expression'), tie('template'))
      .map(([list, body]) => `{% for message in ${list} %}${body}{% endfor %}`),
    tie('template').map((body) => `{% macro f(x=1) %}${body}{{ f() if x }}{% endmacro %}`),
  ),
  template: fc.array(tie('statement'), { maxLength: 4 }).map((parts) => parts.join('\n')),
}));

/** A template renders to text that contains nothing of the process, or is refused with a plain error, within its limits. */
export const family: Family<string> = {
  name: 'chat-template',
  input: fc.oneof(damaged, wellFormed),
  check(template, { count }) {
    let text: string;
    try {
      text = renderChat(template, MESSAGES, { addGenerationPrompt: true, bosToken: '<bos>', eosToken: '<eos>' });
    } catch (error) {
      expectPlainError(error);
      if (!(error instanceof ChatTemplateError)) throw error;
      count(`refused: ${error.stage}`);
      return;
    }
    for (const leak of [process.version, process.execPath, 'native code', '[object ', 'function (']) {
      if (text.includes(leak) && !template.includes(leak)) throw new Error(`the text contains ${leak}`);
    }
    count('rendered');
  },
};
