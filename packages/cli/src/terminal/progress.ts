import { printable } from '@wpo/internal/printable';
import { sparkline } from './sparkline';
import { type Screen, screenOf, type Terminal } from './terminal';

/** Shows the progress of some work. */
export interface Progress {
  /**
   * @param details texts beside the count, the most important first, e.g. `loss 0.6931`
   * @param more what only a terminal shows, where it is wide enough
   */
  update(done: number, details?: string | readonly string[], more?: MoreProgress): void;
  stop(): void;
}

export interface MoreProgress {
  /** The course of the first detail's number, drawn beside it. */
  readonly history?: readonly number[];
  /** A text after all others. */
  readonly last?: string | undefined;
}

export interface ProgressOptions {
  /** Name of the work, e.g. `train`. */
  readonly label: string;
  readonly total: number;
  /** If stderr is not a terminal: print a line every `every` counts, and at the end. Default a twentieth of the total. */
  readonly every?: number;
}

/** A line that is redrawn on a terminal; plain lines if stderr is a file or a pipe. Call `stop` at the end, also after an error. */
export function progress(terminal: Terminal, options: ProgressOptions): Progress {
  const screen = screenOf(terminal);
  return screen.isInteractive ? statusLine(screen, options) : plainLines(screen, options);
}

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

/** Milliseconds between two drawings of the line. */
const REDRAW = 100;

function statusLine(screen: Screen, { label, total }: ProgressOptions): Progress {
  const speed = new Speed(total);
  let now: ProgressState | undefined;
  let drawnAt = Number.NEGATIVE_INFINITY;
  const draw = () => {
    if (now === undefined) return;
    drawnAt = performance.now();
    const parts = fitProgress(now, screen.width);
    const plain = parts.map(({ text }) => text).join('');
    const styled = parts.map(({ text, style }) => (style === undefined ? text : screen.paint(style, text))).join('');
    screen.setStatus(styled, plain.length);
  };
  let stopResize: (() => void) | undefined;
  return {
    update(done, details = [], more = {}) {
      speed.record(done);
      const texts = [details].flat().map((text) => printable(text));
      now = { label, done, total, details: texts, ...more, ...speed.estimate() };
      stopResize ??= screen.onResize(draw);
      if (done >= total || performance.now() - drawnAt >= REDRAW) draw();
    },
    stop() {
      if (now === undefined) return;
      draw();
      screen.endStatus();
      stopResize?.();
      now = undefined;
    },
  };
}

/** At least one line is printed in this many milliseconds, if there is any progress. */
const LONGEST_SILENCE = 60_000;

function plainLines({ stderr }: Screen, { label, total, every = Math.ceil(total / 20) }: ProgressOptions): Progress {
  const speed = new Speed(total);
  let printedAt = performance.now();
  return {
    update(done, details = []) {
      speed.record(done);
      const isDue = done % every === 0 || done === total || performance.now() - printedAt >= LONGEST_SILENCE;
      if (done === 0 || !isDue) return;
      printedAt = performance.now();
      const { left, rate } = speed.estimate();
      const parts = [`${label} ${done}/${total}`, [details].flat(), left ?? [], rate ?? []]
        .flat()
        .filter((part) => part !== '');
      stderr.write(`${parts.join('  ')}\n`);
    },
    stop() {},
  };
}

/** Estimates the speed of some work from its last counts. */
class Speed {
  /** Time and count of the last updates. The first is that of the start, which a resumed run does not start at 0. */
  private readonly samples: { readonly at: number; readonly done: number }[] = [];

  constructor(private readonly total: number) {}

  record(done: number): void {
    this.samples.push({ at: performance.now(), done });
    if (this.samples.length > 20) this.samples.shift();
  }

  /** Nothing before there are two counts to compare. */
  estimate(): { readonly left?: string; readonly rate?: string } {
    const [first, last] = [this.samples[0], this.samples.at(-1)];
    if (first === undefined || last === undefined || last.done <= first.done || last.at <= first.at) return {};
    const perSecond = (1000 * (last.done - first.done)) / (last.at - first.at);
    const seconds = (this.total - last.done) / perSecond;
    return {
      rate: formatRate(perSecond),
      ...(last.done < this.total ? { left: `${formatDuration(seconds)} left` } : {}),
    };
  }
}

const formatRate = (perSecond: number) =>
  perSecond >= 1
    ? `${perSecond < 10 ? perSecond.toFixed(1) : Math.round(perSecond)}/s`
    : `${formatDuration(1 / perSecond)} each`;

/** A time in seconds as text: `7s`, `3m 05s`, `2h 04m`, `3d 4h`. */
export function formatDuration(seconds: number): string {
  const whole = Math.max(1, Math.round(seconds));
  const pad = (n: number) => String(n).padStart(2, '0');
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${pad(whole % 60)}s`;
  const minutes = Math.round(whole / 60);
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)}h ${pad(minutes % 60)}m`;
  const hours = Math.round(minutes / 60);
  return `${Math.floor(hours / 24)}d ${hours % 24}h`;
}

/** What a progress line shows. */
export interface ProgressState extends MoreProgress {
  readonly label: string;
  readonly done: number;
  readonly total: number;
  /** The most important first. */
  readonly details: readonly string[];
  /** Time left; absent while it is unknown. */
  readonly left?: string;
  readonly rate?: string;
}

interface Part {
  readonly text: string;
  readonly style?: 'bold' | 'dim' | 'cyan';
}

const MIN_BAR = 6;
const MAX_BAR = 24;
const MIN_SPARKLINE = 6;
const MAX_SPARKLINE = 12;
const GAP = '  ';

/**
 * The parts of a progress line that fit in `width` characters, the most important first: count, time left, details, sparkline, bar,
 * last text, rate.
 */
export function fitProgress(state: ProgressState, width: number): Part[] {
  const { label, done, total, details, history = [], left = '', last = '', rate = '' } = state;
  const count = `${done}/${total}`;
  const room = width - count.length - 1;
  const name = label.length <= room ? label : room < 2 ? '' : `${label.slice(0, room - 1)}…`;
  const start = name === '' ? count.slice(0, width) : `${name} ${count}`;
  let free = width - start.length;
  const take = (length: number) => {
    if (length > free) return false;
    free -= length;
    return true;
  };
  const takeText = (text: string) => text !== '' && take(text.length + GAP.length);
  const hasLeft = takeText(left);
  const fitting = details.findIndex((text) => !takeText(text));
  const shownDetails = fitting < 0 ? details : details.slice(0, fitting);
  const hasAll = shownDetails.length === details.length && name !== '';
  const hasSparkline = hasAll && history.length > 1 && take(MIN_SPARKLINE + 1);
  const hasBar = hasAll && take(MIN_BAR + 1);
  const hasLast = hasBar && takeText(last);
  const hasRate = hasBar && takeText(rate);
  const spark = hasSparkline ? sparkline(history, Math.min(MAX_SPARKLINE, MIN_SPARKLINE + free)) : '';
  if (hasSparkline) free -= spark.length - MIN_SPARKLINE;
  const size = Math.min(MAX_BAR, MIN_BAR + free);
  const filled = total > 0 ? Math.min(size, Math.floor((done / total) * size)) : size;
  return [
    ...(name === '' ? [] : [{ text: name, style: 'bold' } as const, { text: ' ' }]),
    ...(hasBar
      ? [
          { text: '█'.repeat(filled), style: 'cyan' } as const,
          { text: '░'.repeat(size - filled), style: 'dim' } as const,
          { text: ' ' },
        ]
      : []),
    { text: name === '' ? start : count },
    ...(hasLeft ? [{ text: GAP + left }] : []),
    ...shownDetails.flatMap((text, i) => [
      { text: GAP + text },
      ...(i === 0 && hasSparkline ? [{ text: ` ${spark}`, style: 'cyan' } as const] : []),
    ]),
    ...(hasLast ? [{ text: GAP + last }] : []),
    ...(hasRate ? [{ text: GAP + rate, style: 'dim' } as const] : []),
  ];
}
