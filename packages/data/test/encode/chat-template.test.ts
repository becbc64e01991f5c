import { expect, it } from 'vitest';
import { ChatTemplateError, renderChat } from '../../src/index';
import { reference, thrown } from '../fixtures';

const { chat, templates } = reference();
const user = (content: string) => ({ role: 'user', content });

it('renders as transformers does: trim and strip on odd whitespace, macros of the template, tools and documents none', () => {
  const renders = chat.filter(({ error }) => error === undefined);
  expect(renders.length).toBeGreaterThan(90);
  const ours = renders.map((wanted) => ({
    ...wanted,
    text: renderChat(templates[wanted.template]!, wanted.messages, {
      addGenerationPrompt: wanted.generate,
      bosToken: '<bos>',
      eosToken: '<eos>',
    }),
  }));
  expect(ours).toEqual(renders);
});

it('refuses what the template refuses, in the template’s words', () => {
  const refusals = chat.filter(({ error }) => error !== undefined);
  expect(refusals.length).toBe(6);
  for (const { template, messages, error } of refusals) {
    const got = thrown(() => renderChat(templates[template]!, messages));
    expect(got).toBeInstanceOf(ChatTemplateError);
    expect(got).toMatchObject({ stage: 'render', message: error });
  }
});

it('strips Python’s whitespace in a filter inside an expression, a loop, a default and a method call', () => {
  const odd = '\x1c\ufeffx\ufeff\x85';
  const render = (template: string) => renderChat(template, [user(odd)]);
  expect(render("{{ messages[0]['content'] | trim }}")).toBe('\ufeffx\ufeff');
  expect(render("{{ ('<' + (messages[0].content | trim) + '>') | upper }}")).toBe('<\ufeffX\ufeff>');
  expect(render('{% for m in messages %}{{ m.content.strip() | length }}{% endfor %}')).toBe('3');
  expect(
    render("{% macro f(x) %}{{ x.rstrip('\\x85').rstrip('\\ufeff') }}{% endmacro %}{{ f(messages[0].content) }}"),
  ).toBe('\x1c\ufeffx');
});

it('renders a missing token as nothing, as jinja2 does', () => {
  expect(renderChat('{{ bos_token }}{{ messages[0].content }}{{ eos_token }}', [user('hi')])).toBe('hi');
});

it('refuses an empty conversation', () => {
  expect(() => renderChat('{{ bos_token }}', [])).toThrow('found no messages');
});

it('tells a template that is not Jinja from one that refuses', () => {
  const broken = thrown(() => renderChat('{% for m in messages %}', [user('hi')]));
  expect(broken).toMatchObject({ name: 'ChatTemplateError', stage: 'parse' });
  expect((broken as Error).message).toContain('the chat template is not Jinja that can be read');
});

it('renders the right template when several take turns', () => {
  for (let i = 0; i < 3; i++) {
    expect(renderChat('A{{ messages[0].content }}', [user('x')])).toBe('Ax');
    expect(renderChat('B{{ messages[0].content }}', [user('x')])).toBe('Bx');
  }
});
