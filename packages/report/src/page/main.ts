import type { InspectionData, LivePage, PageData } from '../page';
import { h } from './dom';
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

/** Draws the page again whenever the server's data has changed, until there is no server. */
async function follow({ data: path, every }: LivePage): Promise<void> {
  const state = h('p', { class: 'note', role: 'status' }, 'Live: this page follows the run.');
  report.before(state);
  let shown = '';
  try {
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, 1000 * every));
      const text = await (await fetch(path, { cache: 'no-store' })).text();
      if (text === shown) continue;
      shown = text;
      const { runs } = JSON.parse(text) as PageData;
      report.replaceChildren();
      renderRuns(report, runs);
    }
  } catch {
    state.textContent =
      'The run has ended or was stopped: this page is as it last was. The run’s folder has report.html.';
  }
}
