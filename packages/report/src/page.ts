import { bundle } from './page/bundled';
import type { RunReport } from './run-report';

/** What a page embeds. */
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
  if (bundle === undefined)
    throw new Error('reportPage: expected the script of the page, found none: build @wpo/report.');
  const { script, scriptHash, style } = bundle;
  const data: PageData = { runs, live };
  const policy = `default-src 'none'; style-src 'unsafe-inline'; script-src '${scriptHash}'${live ? "; connect-src 'self'" : ''}`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>WPO run report</title>
<style>${style}</style>
</head>
<body>
<noscript><p>This report draws its charts with JavaScript, which is turned off here.</p></noscript>
<main id="report"></main>
<script type="application/json" id="data">${JSON.stringify(data).replaceAll('<', '\\u003c')}</script>
<script>${script}</script>
</body>
</html>
`;
}
