import { SingleBar } from 'cli-progress';
import type { Terminal } from './terminal';

/** Shows how far a piece of work is. */
export interface Progress {
  /** @param detail what to say beside the count, e.g. `loss 0.6931` */
  update(done: number, detail?: string): void;
  /** Writes a line above the bar. */
  note(line: string): void;
  stop(): void;
}

export interface ProgressOptions {
  /** What is counted off, e.g. `train`. */
  readonly label: string;
  readonly total: number;
  /** Where there is no terminal: a line each so many counts, and one at the end. Default a twentieth of the total. */
  readonly every?: number;
}

/** A bar on a terminal; plain lines where stderr goes to a file or a pipe. To be stopped, come what may. */
export const progress = (terminal: Terminal, options: ProgressOptions): Progress =>
  terminal.stderr.isTTY ? bar(terminal, options) : lines(terminal, options);

/** Runs some work under a progress that is stopped at its end, success or not. */
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
    gracefulExit: false, // signals are the command's, which may have something to save
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
    note: (line) => void stderr.write(`\r\x1b[K${line}\n`),
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
    note: (line) => void stderr.write(`${line}\n`),
    stop() {},
  };
}
