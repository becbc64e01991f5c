// Elements from text. Nothing here parses markup, so text of the data cannot become any.

type Child = Node | string | undefined | false;

/** An element with attributes and children; strings become text. Attributes that are undefined or false are left out. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Readonly<Record<string, string | number | boolean | undefined>> = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children.filter((child) => child !== undefined && child !== false));
  return element;
}

/** Text of the data: control characters and marks that reorder text are shown as escapes, such as `\u202e`. */
export const visible = (text: string): string =>
  text.replace(HIDDEN, (mark) => `\\u${mark.charCodeAt(0).toString(16).padStart(4, '0')}`);

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must be visible
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** A table with a head, and a name for screen readers; the first cell of a row is its head. */
export function table(name: string, head: readonly string[], rows: readonly (readonly string[])[]): HTMLElement {
  const cells = (row: readonly string[]) =>
    row.map((text, i) => (i === 0 ? h('th', { scope: 'row' }, visible(text)) : h('td', {}, visible(text))));
  return h(
    'div',
    { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': name },
    h(
      'table',
      {},
      h('thead', {}, h('tr', {}, ...head.map((text) => h('th', { scope: 'col' }, visible(text))))),
      h('tbody', {}, ...rows.map((row) => h('tr', {}, ...cells(row)))),
    ),
  );
}

/** A part of a page under a heading. */
export const section = (id: string, title: string, ...children: Child[]) =>
  h('section', { id, 'aria-labelledby': `${id}-title` }, h('h2', { id: `${id}-title` }, title), ...children);

/** A step on an axis, e.g. `1.5k`; nothing between two steps. */
export function stepTick(step: number): string {
  if (!Number.isInteger(step)) return '';
  if (step < 1e3) return String(step);
  return step < 1e6 ? `${short(step / 1e3)}k` : `${short(step / 1e6)}M`;
}

/** A number with about four significant digits. */
export function short(value: number | undefined): string {
  if (value === undefined || !Number.isFinite(value)) return '–';
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) {
    return value
      .toExponential(2)
      .replace(/\.?0*e\+?/, 'e')
      .replaceAll('-', '−');
  }
  const digits = Number(value.toPrecision(4));
  return digits.toLocaleString('en-US', { maximumFractionDigits: 6 }).replace('-', '−');
}
