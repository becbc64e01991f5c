import { path, paths } from './fields';
import { type ConfigOf, commandSchema } from './schema';

/** `wpo report`. */
export const reportSchema = commandSchema({
  name: 'report',
  summary: 'write the report of a run, or compare runs',
  description: [
    'Writes one HTML file that opens from disk: metrics, weights of pairs, sampled answers, configuration and environment. wpo train ' +
      'writes it at the end of a run; this command writes it again, also while a run trains. Of several runs, it writes a page that ' +
      'compares them.',
  ],
  fields: {
    runs: paths({
      required: true,
      help: 'the folders of runs, the output_dir of wpo train or of wpo run',
      flag: { positional: true },
    }),
    out: path('output', {
      help: 'the file to write (default: report.html in the folder of the run; of several runs, in the working directory)',
      flag: { placeholder: 'file' },
    }),
  },
  examples: ['wpo report runs/first', 'wpo report runs/first runs/second --out comparison.html'],
});

/** The configuration of `wpo report`. @interface */
export type ReportConfig = { [K in keyof ConfigOf<typeof reportSchema>]: ConfigOf<typeof reportSchema>[K] };
