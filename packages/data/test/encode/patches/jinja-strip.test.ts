import { Template } from '@huggingface/jinja';
import { expect, it } from 'vitest';
import { pythonStrips, usePythonStrip } from '../../../src/encode/patches/jinja-strip';

/** Templates and what jinja2 3.1.6 renders with `x` as below. */
const x = '\ufeff\x1c x\x85';
const cases = [
  ['{{ x | trim }}', '\ufeff\x1c x'],
  ['{{ x.strip() }}', '\ufeff\x1c x'],
  ['{{ x.rstrip() }}', '\ufeff\x1c x'],
  ["{{ 'xxaxx'.strip('x') }}", 'a'],
  ["{{ 'xxaxx' | trim('x') }}", 'a'],
] as const;

it.each(cases)('renders %s as jinja2 does', (source, text) => {
  const template = new Template(source);
  usePythonStrip(template);
  expect(template.render({ x, ...pythonStrips })).toBe(text);
});

it.each(cases)('is still needed for %s: if all of these fail, delete patches/jinja-strip.ts', (source, text) => {
  let rendered: unknown;
  try {
    rendered = new Template(source).render({ x });
  } catch (error) {
    rendered = error; // `trim` with characters is an unknown filter
  }
  expect(rendered).not.toBe(text);
});
