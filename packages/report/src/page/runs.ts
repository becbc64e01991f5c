import type { RunReport, Setting } from '../run-report';
import { pairArticle, sampleArticle, tokenLegend } from './answers';
import { h, section, short, table, visible } from './dom';
import { colorOf, figure } from './figure';
import { beforeAfter, finalNumbers, metricFigures } from './metrics';
import { themeButton } from './theme';
import { weightFigures } from './weights';

/** Draws the page of one run, or one that compares several. */
export function renderRuns(report: HTMLElement, runs: readonly RunReport[]): void {
  const [first] = runs;
  const isComparison = runs.length > 1;
  const title = isComparison ? `${runs.length} runs compared` : visible(first!.name);
  document.title = `${title} – WPO run report`;
  report.append(
    h(
      'header',
      { class: 'page' },
      h('div', {}, h('p', { class: 'eyebrow' }, 'WPO run report'), h('h1', {}, title), !isComparison && status(first!)),
      themeButton(),
    ),
  );
  if (!isComparison) {
    report.append(tiles(first!), ...sections(first!));
    return;
  }
  const { head, rows } = finalNumbers(runs);
  report.append(
    section('runs', 'Runs', runList(runs)),
    section(
      'numbers',
      'After training',
      h('p', { class: 'note' }, 'On held-out pairs; of a run without them, on the pairs of its last logged steps.'),
      table('After training', head, rows),
    ),
    section('settings', 'Settings that differ', differences(runs)),
    section('metrics', 'Training', h('div', { class: 'charts' }, ...metricFigures(runs).map(figure))),
  );
  const details = h('div', {});
  const choice = h('select', { id: 'run' }, ...runs.map(({ name }, i) => h('option', { value: i }, visible(name))));
  const show = () => details.replaceChildren(...sections(runs[Number(choice.value)]!).slice(1));
  choice.addEventListener('change', show);
  report.append(h('div', { class: 'choice' }, h('label', { for: 'run' }, 'Details of the run '), choice), details);
  show();
}

/** The parts of a run's page; the first has its metrics. */
function sections(run: RunReport): HTMLElement[] {
  const { weights, scored, samples, settings, environment } = run;
  const changes = beforeAfter(run);
  const by = scored[0]?.by ?? 'weight';
  return [
    section('metrics', 'Training', h('div', { class: 'charts' }, ...metricFigures([run]).map(figure))),
    changes &&
      section(
        'evaluation',
        changes.isHeldOut ? 'Evaluation' : 'First and last steps',
        !changes.isHeldOut &&
          h('p', { class: 'note' }, 'The run has no held-out pairs: the columns are means over different pairs.'),
        table('Before and after', changes.head, changes.rows),
      ),
    samples.length > 0 &&
      section(
        'samples',
        'Sampled answers',
        h('p', { class: 'note' }, 'Made of the most likely tokens, before training and after some steps.'),
        ...samples.map(sampleArticle),
      ),
    weights &&
      section(
        'weights',
        'Weights of pairs',
        h(
          'p',
          { class: 'note' },
          'How likely the model was to write both answers of a pair. A pair’s loss is multiplied by its weight.',
        ),
        h('div', { class: 'charts' }, ...weightFigures(weights).map(figure)),
      ),
    scored.length > 0 &&
      section(
        'pairs',
        `Pairs of lowest and highest ${by}`,
        h(
          'p',
          { class: 'note' },
          'Each token is coloured by its log-prob minus the alignment term, in nats, under the trained model: below 0 where the ' +
            'model would rather write something else.',
        ),
        tokenLegend(),
        ...scored.map(pairArticle),
      ),
    settings.length > 0 && section('settings', 'Configuration', settingTable(settings)),
    environment.length > 0 &&
      section('environment', 'Environment', table('Environment', ['part', 'value'], environment)),
  ].filter((part) => part !== undefined && part !== false);
}

const status = ({ status: text }: RunReport) =>
  h('p', { class: text === 'finished' ? 'badge' : 'badge warn' }, visible(text));

/** The numbers of a run that one looks for first. */
function tiles(run: RunReport): HTMLElement {
  const last = run.training.at(-1);
  const evaluation = run.evaluations.at(-1);
  const [row, prefix] = evaluation ? [evaluation, 'eval_'] : [last, ''];
  const speeds = run.training.flatMap(({ tokens_per_second }) => tokens_per_second ?? []);
  const speed = speeds.reduce((sum, value) => sum + value, 0) / speeds.length;
  const entries: [string, string][] = [
    ['steps', short(last?.step)],
    ['tokens', last?.num_tokens?.toLocaleString('en-US') ?? '–'],
    ['tokens per second', short(speed)],
    ['reward accuracy', short(row?.[`${prefix}rewards/accuracies`])],
    ['reward margin', short(row?.[`${prefix}rewards/margins`])],
    ['mean weight', short(row?.[`${prefix}wpo/weight`])],
  ];
  return h(
    'dl',
    { class: 'tiles' },
    ...entries.map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))),
  );
}

const runList = (runs: readonly RunReport[]) =>
  h(
    'ul',
    { class: 'legend runs' },
    ...runs.map((run, i) =>
      h('li', {}, h('span', { class: 'key line', style: `--key: ${colorOf(i)}` }), visible(run.name), ' ', status(run)),
    ),
  );

function settingTable(settings: readonly Setting[]): HTMLElement {
  const rows = (isDefault: boolean) =>
    settings.filter((setting) => setting.isDefault === isDefault).map(({ key, value }) => [key, value]);
  return h(
    'div',
    {},
    table('Configuration', ['key', 'value'], rows(false)),
    rows(true).length > 0 &&
      h(
        'details',
        {},
        h('summary', {}, `${rows(true).length} keys with their defaults`),
        table('Configuration', ['key', 'value'], rows(true)),
      ),
  );
}

function differences(runs: readonly RunReport[]): HTMLElement {
  const keys = [...new Set(runs.flatMap(({ settings }) => settings.map(({ key }) => key)))];
  const rows = keys
    .map((key) => [key, ...runs.map(({ settings }) => settings.find((one) => one.key === key)?.value ?? '–')])
    .filter(([key, ...values]) => key !== 'output_dir' && new Set(values).size > 1);
  if (rows.length === 0) return h('p', { class: 'note' }, 'All settings of these runs are equal.');
  return table('Settings that differ', ['key', ...runs.map(({ name }) => name)], rows);
}
