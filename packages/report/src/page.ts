import type { InspectionReport } from './inspection-report';
import { bundle } from './page/bundled';
import { paletteStyle } from './page/palette';
import type { RunReport } from './run-report';

/** What the page of an inspection embeds. */
export interface InspectionData {
  readonly inspections: readonly InspectionReport[];
}

/** What the page of runs embeds. */
export interface PageData {
  readonly runs: readonly RunReport[];
  /** Where the page finds new data while a run trains; absent in a page that is a file. */
  readonly live?: LivePage | undefined;
}

/** A page that a server shows while a run trains. It draws itself again when the data has changed. */
export interface LivePage {
  /** A path of the same server, which answers with `{ runs }` as JSON. */
  readonly data: string;
  /** Seconds between two requests. */
  readonly every: number;
}

/**
 * A page of one run, or one that compares several: one HTML file that needs nothing else. Text of the data is never markup: it is
 * embedded as JSON in which `<` is escaped, the page's script writes it as text, and the page's Content-Security-Policy allows
 * that script only.
 *
 * @param runs at least one
 * @param live for a page that a server shows; the page may then send requests to that server, and to no other
 */
export function reportPage(runs: readonly RunReport[], live?: LivePage): string {
  if (runs.length === 0) throw new RangeError('reportPage: expected at least one run, found none.');
  return htmlPage('WPO run report', { runs, live } satisfies PageData, live && "connect-src 'self'");
}

/**
 * A page about preference pairs: counts, lengths, sources, findings with examples, as one HTML file like that of a run.
 *
 * @param inspections at least one; of several, the page shows the first, and lets the reader choose
 */
export function inspectionPage(inspections: readonly InspectionReport[]): string {
  if (inspections.length === 0) throw new RangeError('inspectionPage: expected at least one inspection, found none.');
  return htmlPage('WPO data inspection', { inspections } satisfies InspectionData);
}

/** @param directive another directive of the Content-Security-Policy */
function htmlPage(title: string, data: PageData | InspectionData, directive?: string): string {
  if (bundle === undefined) throw new Error('expected the script of the page, found none: build @wpo/report.');
  const { script, scriptHash, style } = bundle;
  const policy = `default-src 'none'; style-src 'unsafe-inline'; script-src '${scriptHash}'${directive ? `; ${directive}` : ''}`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<style>${paletteStyle}${style}</style>
</head>
<body>
<noscript><p>This page draws its charts with JavaScript, which is turned off here.</p></noscript>
<main id="report"></main>
<script type="application/json" id="data">${JSON.stringify(data).replaceAll('<', '\\u003c')}</script>
<script>${script}</script>
</body>
</html>
`;
}
