import { SingleBar } from 'cli-progress';

/** Where a command writes: results to `stdout`, progress and warnings to `stderr`. `process` is a terminal. */
export interface Terminal {
  readonly stdout: NodeJS.WritableStream;
  readonly stderr: NodeJS.WritableStream & { readonly isTTY?: boolean };
}

/** Shows the progress of some work. */
export interface Progress {
  /** @param detail text beside the count, e.g. `loss 0.6931` */
  update(done: number, detail?: string): void;
  /** Prints a line above the bar. */
  print(line: string): void;
  stop(): void;
}

export interface ProgressOptions {
  /** Name of the work, e.g. `train`. */
  readonly label: string;
  readonly total: number;
  /** If stderr is not a terminal: print a line every `every` counts, and at the end. Default a twentieth of the total. */
  readonly every?: number;
}

/** A bar on a terminal; plain lines if stderr is a file or a pipe. Call `stop` at the end, also after an error. */
export const progress = (terminal: Terminal, options: ProgressOptions): Progress =>
  terminal.stderr.isTTY ? bar(terminal, options) : lines(terminal, options);

/** Runs some work with a progress that is stopped at its end, also after an error. */
export async function withProgress<T>(
  terminal: Terminal,
  options: ProgressOptions,
  work: (shown: Progress) => Promise<T>,
): Promise<T> {
  const shown = progress(terminal, options);
  try {
    return await work(shown);
  } finally {
    shown.stop();
  }
}

function bar({ stderr }: Terminal, { label, total }: ProgressOptions): Progress {
  const shown = new SingleBar({
    format: `${label} {bar} {value}/{total}{detail}  {eta_formatted} left`,
    barsize: 24,
    barCompleteChar: '█',
    barIncompleteChar: '░',
    etaBuffer: 20,
    gracefulExit: false, // the command handles signals, since it may have something to save
    stream: stderr,
  });
  let started = false;
  return {
    update(done, detail = '') {
      const payload = { detail: detail && `  ${detail}` };
      if (started) shown.update(done, payload);
      else shown.start(total, done, payload);
      started = true;
    },
    print: (line) => void stderr.write(`\r\x1b[K${line}\n`),
    stop() {
      if (started) shown.stop();
      started = false;
    },
  };
}

function lines({ stderr }: Terminal, { label, total, every = Math.ceil(total / 20) }: ProgressOptions): Progress {
  return {
    update(done, detail = '') {
      if (done > 0 && (done % every === 0 || done === total)) {
        stderr.write(`${label} ${done}/${total}${detail && `  ${detail}`}\n`);
      }
    },
    print: (line) => void stderr.write(`${line}\n`),
    stop() {},
  };
}
