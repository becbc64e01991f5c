import { expect, it } from 'vitest';
import { ChatTemplateError, renderChat } from '../../src/index';
import { reference, thrown } from '../fixtures';

const { chat, templates } = reference();
const user = (content: string) => ({ role: 'user', content });

it('renders as transformers does: trim and strip of unusual whitespace, macros, and no tools or documents', () => {
  const renders = chat.filter(({ error }) => error === undefined);
  expect(renders.length).toBeGreaterThan(90);
  const ours = renders.map((expected) => ({
    ...expected,
    text: renderChat(templates[expected.template]!, expected.messages, {
      addGenerationPrompt: expected.generate,
      bosToken: '<bos>',
      eosToken: '<eos>',
    }),
  }));
  expect(ours).toEqual(renders);
});

it('rejects messages that the template rejects, with the template’s message', () => {
  const rejected = chat.filter(({ error }) => error !== undefined);
  expect(rejected.length).toBe(6);
  for (const { template, messages, error } of rejected) {
    const got = thrown(() => renderChat(templates[template]!, messages));
    expect(got).toBeInstanceOf(ChatTemplateError);
    expect(got).toMatchObject({ stage: 'render', message: error });
  }
});

it('says so where a template rejects the messages and gives no reason', () => {
  const got = thrown(() => renderChat("{{ raise_exception(' ') }}", [user('hi')]));
  expect(got).toMatchObject({
    stage: 'render',
    message: 'the chat template rejects the messages and gives no reason',
  });
});

it('strips Python’s whitespace in filters and method calls, inside expressions, loops and macros', () => {
  const odd = '\x1c\ufeffx\ufeff\x85';
  const render = (template: string) => renderChat(template, [user(odd)]);
  expect(render("{{ messages[0]['content'] | trim }}")).toBe('\ufeffx\ufeff');
  expect(render("{{ ('<' + (messages[0].content | trim) + '>') | upper }}")).toBe('<\ufeffX\ufeff>');
  expect(render('{% for m in messages %}{{ m.content.strip() | length }}{% endfor %}')).toBe('3');
  expect(
    render("{% macro f(x) %}{{ x.rstrip('\\x85').rstrip('\\ufeff') }}{% endmacro %}{{ f(messages[0].content) }}"),
  ).toBe('\x1c\ufeffx');
});

it('renders a missing token as empty text, as jinja2 does', () => {
  expect(renderChat('{{ bos_token }}{{ messages[0].content }}{{ eos_token }}', [user('hi')])).toBe('hi');
});

it('rejects an empty conversation', () => {
  expect(() => renderChat('{{ bos_token }}', [])).toThrow('messages: expected at least one, found none');
});

it('distinguishes a template that is not Jinja from one that rejects the messages', () => {
  const broken = thrown(() => renderChat('{% for m in messages %}', [user('hi')]));
  expect(broken).toMatchObject({ name: 'ChatTemplateError', stage: 'parse' });
  expect((broken as Error).message).toContain('the chat template is not valid Jinja');
});

it('renders the right template when several are used in turn', () => {
  for (let i = 0; i < 3; i++) {
    expect(renderChat('A{{ messages[0].content }}', [user('x')])).toBe('Ax');
    expect(renderChat('B{{ messages[0].content }}', [user('x')])).toBe('Bx');
  }
});
