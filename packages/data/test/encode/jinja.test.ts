import { describe, expect, it } from 'vitest';
import { type ChatTemplateError, type Message, renderChat } from '../../src/index';
import { readJson, thrown } from '../fixtures';

/** What jinja2 renders; null if it raises an error (make_jinja.py). */
interface Reference {
  readonly messages: readonly Message[];
  readonly values: readonly string[];
  readonly shapes: Readonly<Record<string, readonly (string | null)[]>>;
  readonly operators: Readonly<Record<string, readonly (readonly (string | null)[])[]>>;
  readonly templates: Readonly<Record<string, string | null>>;
  readonly reasons: Readonly<Record<string, string>>;
}
const python = readJson<Reference>('jinja.json');
const render = (template: string) => renderChat(template, python.messages, { addGenerationPrompt: true });

function outcome(template: string): string | null {
  try {
    return render(template);
  } catch (error) {
    expect(error).toMatchObject({ name: 'ChatTemplateError' });
    return null;
  }
}

/** Templates that jinja2 renders and we refuse. */
const REFUSED = [
  /^\{\{ \('.*'\) % /, // formatting with %
  / \*\* /, // powers of floats
  /\}\[.*:.*\]/, // a slice of a dictionary: jinja2 refuses it too, unless the dictionary is written in the template
  /^\{\{ (missing|messages\[0\]\.nope|messages\[9\])\.__class__ \}\}$/,
];

describe('as jinja2 does', () => {
  const { values, shapes, operators } = python;
  const cases = [
    ...Object.entries(shapes).flatMap(([shape, expected]) =>
      values.map((value, i) => [shape.replaceAll('V', () => value), expected[i]!] as const),
    ),
    ...Object.entries(operators).flatMap(([operator, rows]) =>
      values.flatMap((a, i) => values.map((b, k) => [`{{ (${a}) ${operator} (${b}) }}`, rows[i]![k]!] as const)),
    ),
    ...Object.entries(python.templates),
  ];

  it('renders every kind of value in every kind of expression, undefined ones too, or refuses it', () => {
    expect(cases.length).toBeGreaterThan(15_000);
    const different = cases
      .map(([template, expected]) => [template, expected, outcome(template)] as const)
      .filter(([, expected, rendered]) => rendered !== expected);
    expect(different.filter(([template]) => !REFUSED.some((pattern) => pattern.test(template)))).toEqual([]);
    expect(different.filter(([, , rendered]) => rendered !== null)).toEqual([]);
  });

  it('gives the reason of an error in the same words', () => {
    const ours = Object.keys(python.reasons).map((template) => [
      template,
      (thrown(() => render(template)) as Error).message,
    ]);
    expect(Object.fromEntries(ours)).toEqual(python.reasons);
  });
});

describe('a template cannot take the process down', () => {
  const doubled = (start: string, step: string, end: string) =>
    `{% set ns = namespace(x=${start}) %}{% for i in range(64) %}{% set ns.x = ${step} %}{% endfor %}${end}`;
  it.each([
    ['loops', '{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}'],
    ['loops over text', "{% for i in 'x' * 100000 %}{% for j in 'x' * 100000 %}{{ j }}{% endfor %}{% endfor %}"],
    ['repetition', "{{ 'x' * 1000000000 }}"],
    ['repetition of a list', '{{ [1] * 1000000000 }}'],
    ['concatenation', doubled("'x'", 'ns.x ~ ns.x', '')],
    ['addition of lists', doubled('[1]', 'ns.x + ns.x', '{{ ns.x }}')],
    ['printing shared lists', doubled('[1]', '[ns.x, ns.x]', '{{ ns.x }}')],
    [
      'comparing shared lists',
      '{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(64) %}{% set ns.x = [ns.x, ns.x] %}' +
        '{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}',
    ],
    ['JSON of shared lists', doubled('[1]', '[ns.x, ns.x]', '{{ ns.x | tojson }}')],
    ['joining', "{{ ('x' * 1000000) | join('y' * 1000) }}"],
    ['replacing', "{{ ('x' * 1000000) | replace('x', 'y' * 1000) }}"],
    ['replacing nothing', "{{ ('x' * 1000000).replace('', 'y' * 1000) }}"],
    ['indenting', '{{ "a\\nb" | indent(1000000000) }}'],
    ['indented JSON', '{{ [1] | tojson(indent=1000000000) }}'],
    ['searching', "{{ ('a' * 500000 ~ 'b') in ('a' * 1000000) }}"],
    ['splitting', "{{ ('a' * 1000000).split('a' * 500000 ~ 'b') }}"],
    ['sorting', "{{ ([('a' * 1000000)] * 100000) | sort }}"],
    ['uniqueness', '{{ range(100000) | unique | list }}'],
    ['a macro that calls itself', '{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}'],
    [
      'macros that call themselves twice',
      '{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(50) }}',
    ],
    ['a namespace in itself', '{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns }}'],
    ['a long sum', `{{ ${'1 + '.repeat(5000)}1 }}`],
    ['dates', "{{ strftime_now('%B' * 100000000) }}"],
    [
      'tests of every item',
      '{% for i in range(100000) %}{{ range(100000) | select("odd") | list | length }}{% endfor %}',
    ],
  ])('stops %s', (_, template) => {
    const error = thrown(() => render(template)) as ChatTemplateError;
    expect(error).toMatchObject({ name: 'ChatTemplateError', stage: 'limit' });
    expect(error.message).toMatch(/takes too much time or memory to render: .*chat_template\.jinja\.$/);
  });

  it.each([
    ['parentheses', `{{ ${'('.repeat(20_000)}1${')'.repeat(20_000)} }}`, 'nested too deeply'],
    ['lists', `{{ ${'['.repeat(50_000)} }}`, 'nested too deeply'],
    ['white space', `${' '.repeat(200_000)}{{ 1 }}`, 'at most 2000 spaces'],
    ['length', 'x'.repeat(300_000), 'at most 262144 characters'],
    ['a missing end', '{% for m in messages %}', 'it ends inside a block'],
    ['a missing bracket', '{{ [1, ', 'Unexpected end of input'],
    ['a missing value', '{{ 1 + }}', 'unexpected CloseExpression'],
  ])('refuses to parse unlimited %s', (_, template, message) => {
    const error = thrown(() => render(template)) as ChatTemplateError;
    expect(error).toMatchObject({ name: 'ChatTemplateError', stage: 'parse' });
    expect(error.message).toContain(message);
  });

  it('reaches no constructor, prototype or global from any value', () => {
    const names = [
      'constructor',
      '__proto__',
      'prototype',
      'toString',
      'valueOf',
      'hasOwnProperty',
      'call',
      'apply',
      'bind',
    ];
    const objects = [...python.values, 'range', 'namespace', 'raise_exception', 'messages[0].get', "''.strip", 'm'];
    const start = '{% macro m() %}{% endmacro %}{% for x in [1] %}';
    for (const object of [...objects, 'loop', 'loop.cycle']) {
      for (const name of names) {
        for (const access of [`(${object}).${name}`, `(${object})['${name}']`]) {
          expect(`${access}: ${outcome(`${start}{{ ${access} is undefined }}{% endfor %}`) ?? 'True'}`).toBe(
            `${access}: True`,
          );
          expect(outcome(`${start}{{ ${access}('return process')() }}{% endfor %}`)).toBeNull();
          expect(outcome(`${start}{{ ${access}.constructor('return process')() }}{% endfor %}`)).toBeNull();
        }
      }
    }
    for (const name of [
      'process',
      'globalThis',
      'require',
      'Function',
      'eval',
      'this',
      'module',
      'global',
      'constructor',
      '__proto__',
    ]) {
      expect(outcome(`{{ ${name} is defined }}`)).toBe('False');
    }
    expect(outcome("{{ {'__proto__': {'polluted': 1}}.polluted is defined }}")).toBe('False');
    expect(outcome("{% set ns = namespace() %}{% set ns.__proto__ = {'x': 1} %}{{ ns.x is defined }}")).toBe('False');
    expect({}).not.toHaveProperty('polluted');
  });

  it('allows for the length of the conversation', () => {
    const long = Array.from({ length: 2000 }, (_, i) => ({
      role: i % 2 ? 'assistant' : 'user',
      content: 'word '.repeat(200),
    }));
    const template =
      "{% set ns = namespace(t='') %}{% for m in messages %}{% set ns.t = ns.t ~ (m.content | trim | replace('w', 'W')) ~ '\\n' %}{% endfor %}{{ ns.t }}";
    expect(renderChat(template, long)).toHaveLength(2000 * 1000);
  });
});
