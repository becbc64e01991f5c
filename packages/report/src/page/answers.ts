import type { SampledAnswers, ScoredPair, TokenScore } from '../run-report';
import { h, short, visible } from './dom';

/** Nats at which a token has its full colour. */
const FULL = 4;

/** A pair with both answers side by side, each token coloured by its log-prob minus the alignment term. */
export function pairArticle(pair: ScoredPair): HTMLElement {
  const { rank, by, id, step, weight, margin, prompt } = pair;
  const value = by === 'weight' ? weight : margin;
  return h(
    'article',
    { class: 'pair' },
    h(
      'header',
      {},
      h('h3', {}, `${rank === 'lowest' ? 'Low' : 'High'} ${by} `, h('b', {}, short(value))),
      h(
        'p',
        {},
        `${visible(id)}, step ${step}, ${by === 'weight' ? `margin ${short(margin)}` : `weight ${short(weight)}`}`,
      ),
    ),
    promptOf(prompt),
    h(
      'div',
      { class: 'sides' },
      answer('Chosen', pair.chosen, pair.omitted.chosen),
      answer('Rejected', pair.rejected, pair.omitted.rejected),
    ),
  );
}

function promptOf(text: string): HTMLElement {
  const shown = h('blockquote', { class: 'text', dir: 'auto' }, visible(text));
  if (text.length <= 400) return h('div', {}, h('h4', {}, 'Prompt'), shown);
  return h('details', {}, h('summary', {}, `Prompt: ${visible(text.slice(0, 120))}…`), shown);
}

/**
 * An answer as one stop of the Tab key: arrow keys go from token to token, and the line below says the numbers of the token. The
 * pointer does the same.
 */
function answer(title: string, tokens: readonly TokenScore[], omitted: number): HTMLElement {
  const mean = tokens.reduce((sum, { logp, alignment }) => sum + logp - alignment, 0) / Math.max(1, tokens.length);
  const status = h('p', { class: 'status', 'aria-live': 'polite' }, HELP);
  const elements = tokens.map(({ text, logp, alignment }) => {
    const difference = logp - alignment;
    const share = Math.round(Math.min(1, Math.abs(difference) / FULL) * 100);
    const color = difference < 0 ? 'var(--low)' : 'var(--high)';
    return h('span', { style: `--c: ${color}; --a: ${share}%` }, visible(text).replaceAll('\n', '↵\n'));
  });
  const box = h(
    'div',
    {
      ...{ class: 'tokens text', tabindex: 0, role: 'group', dir: 'auto' },
      'aria-label': `${title} answer, ${tokens.length} tokens. Arrow keys go from token to token.`,
    },
    ...elements,
    omitted > 0 && h('span', { class: 'omitted' }, ` … ${omitted.toLocaleString('en-US')} more tokens`),
  );
  let at = -1;
  const select = (next: number) => {
    if (tokens.length === 0) return;
    elements[at]?.classList.remove('active');
    at = Math.max(0, Math.min(tokens.length - 1, next));
    const { text, logp, alignment } = tokens[at]!;
    elements[at]!.classList.add('active');
    elements[at]!.scrollIntoView({ block: 'nearest' });
    status.textContent =
      `“${visible(text).replaceAll('\n', '↵')}”: log-prob ${short(logp)}, alignment term ${short(alignment)}, ` +
      `difference ${short(logp - alignment)}`;
  };
  box.addEventListener('keydown', (event) => {
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tokens.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    select(next);
  });
  box.addEventListener('pointerover', ({ target }) => {
    const i = elements.indexOf(target as HTMLSpanElement);
    if (i >= 0) select(i);
  });
  return h('section', {}, h('h4', {}, `${title} `, h('small', {}, `mean difference ${short(mean)}`)), box, status);
}

const HELP = 'Point at a token, or use the arrow keys, to see its numbers.';

/** What the colours of tokens mean. */
export const tokenLegend = (): HTMLElement =>
  h(
    'ul',
    { class: 'legend' },
    ...[-4, -2, 0, 2, 4].map((value) =>
      h(
        'li',
        {},
        h('span', {
          class: 'key token',
          style: `--c: var(${value < 0 ? '--low' : '--high'}); --a: ${(Math.abs(value) / FULL) * 100}%`,
        }),
        value === -4 ? '−4 or less' : value === 4 ? '4 or more' : short(value),
      ),
    ),
  );

/** The answers to a prompt beside each other, in the order of the steps. */
export function sampleArticle({ prompt, answers }: SampledAnswers): HTMLElement {
  const side = ({ step, text }: SampledAnswers['answers'][number]) =>
    h(
      'section',
      {},
      h('h4', {}, step === 0 ? 'Before training' : `After step ${step}`),
      h('blockquote', { class: 'text', dir: 'auto' }, visible(text) || '(empty)'),
    );
  const scroll = { class: 'times', tabindex: 0, role: 'region', 'aria-label': 'Answers over time' };
  return h('article', { class: 'pair' }, promptOf(prompt), h('div', scroll, ...answers.map(side)));
}
