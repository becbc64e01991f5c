import { printableLines } from '@wpo/internal/printable';
import type { WpoEvent } from '../events';

/** A stream of text, such as `process.stdout`. */
export interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  /** The width of a terminal. */
  readonly columns?: number;
  /** Whether the terminal shows colours; `process.stderr` looks at NO_COLOR, FORCE_COLOR and TERM. */
  hasColors?(): boolean;
  on?(event: 'resize', listener: () => void): unknown;
  off?(event: 'resize', listener: () => void): unknown;
}

/** Where a command writes: results to `stdout`, progress and warnings to `stderr`. `process` is a terminal. */
export interface Terminal {
  readonly stdout: Output;
  readonly stderr: Output;
  /** Receives events of the command; absent where nobody wants them. */
  readonly onEvent?: ((event: WpoEvent) => void) | undefined;
}

const STYLES = { bold: '1', dim: '2', red: '31', yellow: '33', cyan: '36' } as const;
export type Style = keyof typeof STYLES;

/**
 * A terminal that cannot be tampered with: control characters in a text become escapes such as `\u001b`, because texts contain
 * data, names of models and replies of servers. Only this class writes control characters. It keeps one status line, such as a
 * progress bar, below everything that is written.
 */
export class Screen implements Terminal {
  readonly stdout: Output;
  readonly stderr: Output;
  readonly onEvent: Terminal['onEvent'];
  /** Whether stderr can redraw a line. */
  readonly isInteractive: boolean;
  private status = '';
  /** Visible characters of the status line. */
  private statusLength = 0;
  private isShown = false;
  /** Whether the text above has not ended its line, so that there is no room for the status line. */
  private hasOpenLine = false;

  constructor(private readonly raw: Terminal) {
    this.isInteractive = raw.stderr.isTTY === true && process.env.TERM !== 'dumb';
    this.stdout = this.guarded(raw.stdout);
    this.stderr = this.guarded(raw.stderr);
    this.onEvent = raw.onEvent;
  }

  /** A terminal for the same streams whose stdout has events as lines of JSON. All other output goes to stderr. */
  withJsonEvents(): Screen {
    const { stdout, stderr } = this.raw;
    // an escape such as \u001b means the same in JSON
    const onEvent = (event: WpoEvent) => void stdout.write(`${printableLines(JSON.stringify(event))}\n`);
    return new Screen({ stdout: stderr, stderr, onEvent });
  }

  /** The width of stderr in characters, without the last column, where some terminals wrap the line. */
  get width(): number {
    return Math.max(1, (this.raw.stderr.columns || 80) - 1);
  }

  /** A text in a colour, if stderr shows colours. */
  paint(style: Style, text: string): string {
    return this.isInteractive && this.raw.stderr.hasColors?.() ? `\x1b[${STYLES[style]}m${text}\x1b[0m` : text;
  }

  /** Prints an error. What is wrong and where, the part before the first colon and space, is red. */
  printError(message: string): void {
    this.above(
      this.raw.stderr,
      `${boundedText(message)
        .split('\n')
        .map((line) => this.paintError(line))
        .join('\n')}\n`,
    );
  }

  private paintError(line: string): string {
    const safe = printableLines(line);
    const end = safe.indexOf(': ');
    return end < 0 ? safe : `${this.paint('red', safe.slice(0, end + 1))}${safe.slice(end + 1)}`;
  }

  /** Shows a status line, or replaces it. @param length its visible characters, at most `width` */
  setStatus(line: string, length: number): void {
    this.clear();
    this.status = line;
    this.statusLength = length;
    this.show();
  }

  /** Leaves the status line where it is and ends it. */
  endStatus(): void {
    if (this.isShown) this.raw.stderr.write('\n');
    this.isShown = false;
    this.status = '';
  }

  /** Calls a function whenever the terminal's size changes. Returns a function that stops this. */
  onResize(listener: () => void): () => void {
    this.raw.stderr.on?.('resize', listener);
    return () => void this.raw.stderr.off?.('resize', listener);
  }

  private guarded(stream: Output): Output {
    return { isTTY: stream.isTTY === true, write: (text) => this.above(stream, printableLines(text)) };
  }

  /** Writes a text in place of the status line, and the status line below it. */
  private above(stream: Output, text: string): void {
    if (text === '') return;
    this.clear();
    stream.write(text);
    if (stream.isTTY) this.hasOpenLine = !text.endsWith('\n');
    this.show();
  }

  private show(): void {
    if (this.status === '' || this.hasOpenLine) return;
    this.raw.stderr.write(this.status);
    this.isShown = true;
  }

  /** Clears the status line, which has several rows if the terminal has become narrower. */
  private clear(): void {
    if (!this.isShown) return;
    const rowsAbove = Math.floor((this.statusLength - 1) / (this.width + 1));
    this.raw.stderr.write(`\r${rowsAbove > 0 ? `\x1b[${rowsAbove}A` : ''}\x1b[J`);
    this.isShown = false;
  }
}

const screens = new WeakMap<Terminal, Screen>();

/** The guarded form of a terminal; always the same for the same terminal. */
export function screenOf(terminal: Terminal): Screen {
  if (terminal instanceof Screen) return terminal;
  const screen = screens.get(terminal) ?? new Screen(terminal);
  screens.set(terminal, screen);
  return screen;
}

/** The terminal of this process. */
export const processTerminal = (): Terminal => screenOf(process);

const MAX_LINES = 60;
const MAX_LINE_LENGTH = 2000;

/** A message of bounded size, whatever it quotes. */
function boundedText(text: string): string {
  const lines = text.split('\n', MAX_LINES + 1);
  const shown = lines.slice(0, MAX_LINES).map((line) => {
    const more = line.length - MAX_LINE_LENGTH;
    return more > 0 ? `${line.slice(0, MAX_LINE_LENGTH)}… (${more} more characters)` : line;
  });
  return [...shown, ...(lines.length > MAX_LINES ? ['… and more lines'] : [])].join('\n');
}
