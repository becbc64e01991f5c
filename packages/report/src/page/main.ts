import type { InspectionData, LivePage, PageData } from '../page';
import { h, visible } from './dom';
import { renderInspections } from './inspection';
import { renderRuns } from './runs';

const data = JSON.parse(document.getElementById('data')!.textContent) as PageData | InspectionData;
const report = document.getElementById('report')!;
if ('inspections' in data) {
  renderInspections(report, data.inspections);
} else {
  renderRuns(report, data.runs);
  if (data.live) void follow(data.live);
}

/** Draws the page again whenever the server's data has changed, until there is no server. What the reader opened stays open. */
async function follow({ data: path, every }: LivePage): Promise<void> {
  const following = 'Live: this page follows the run.';
  const state = h('p', { class: 'note', role: 'status' }, following);
  report.before(state);
  let shown = '';
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 1000 * every));
    const response = await fetch(path, { cache: 'no-store' }).catch(() => undefined);
    const text = await response?.text().catch(() => undefined);
    if (response === undefined || text === undefined) break;
    const now = response.ok ? following : `The report cannot be read: ${visible(text)}`;
    if (state.textContent !== now) state.textContent = now; // a screen reader says each change
    if (!response.ok || text === shown) continue;
    shown = text;
    const opened = new Set(Array.from(report.querySelectorAll('details[open]'), nameOf));
    report.replaceChildren();
    renderRuns(report, (JSON.parse(text) as PageData).runs);
    for (const details of report.querySelectorAll('details')) details.open = opened.has(nameOf(details));
  }
  state.textContent =
    'The run has ended or was stopped: this page is as it last was. The run’s folder has report.html.';
}

/** The title of the part that it belongs to, and its own. */
const nameOf = (details: Element): string =>
  [details.closest('figure, section')?.querySelector('h2, h3'), details.querySelector('summary')]
    .map((title) => title?.textContent)
    .join(': ');
