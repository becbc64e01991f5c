import { bundle } from './page/bundled';
import type { RunReport } from './run-report';

/** What a page embeds. */
export interface PageData {
  readonly runs: readonly RunReport[];
}

/**
 * A page of one run, or one that compares several: one HTML file that needs nothing else. Text of the data is never markup: it is
 * embedded as JSON in which `<` is escaped, the page's script writes it as text, and the page's Content-Security-Policy allows
 * that script only.
 *
 * @param runs at least one
 */
export function reportPage(runs: readonly RunReport[]): string {
  if (runs.length === 0) throw new RangeError('reportPage: expected at least one run, found none.');
  if (bundle === undefined)
    throw new Error('reportPage: expected the script of the page, found none: build @wpo/report.');
  const { script, scriptHash, style } = bundle;
  const data: PageData = { runs };
  const policy = `default-src 'none'; style-src 'unsafe-inline'; script-src '${scriptHash}'`;
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
