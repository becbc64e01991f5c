import { expect, test, vi } from 'vitest';
import { screenOf, type Terminal } from '../../src/terminal/terminal';

/** A control sequence with one number. */
const SEQUENCE = '\x1b\\[(\\d*)([A-Za-z])';

/** A terminal of a given width, and what its screen shows. */
function emulator(columns = 40, { colours = false } = {}) {
  let lines = [''];
  let raw = '';
  const stream = {
    isTTY: true,
    columns,
    hasColors: () => colours,
    write(text: string) {
      raw += text;
      for (const [part] of text.matchAll(new RegExp(`${SEQUENCE}|[^]`, 'gu'))) {
        const sequence = new RegExp(`^${SEQUENCE}$`).exec(part);
        if (part === '\n') lines.push('');
        else if (part === '\r') cursor = 0;
        else if (sequence?.[2] === 'A') lines = lines.slice(0, lines.length - Number(sequence[1]));
        else if (sequence?.[2] === 'J') lines[lines.length - 1] = lines.at(-1)!.slice(0, cursor);
        else if (sequence === null) lines[lines.length - 1] = lines.at(-1)!.slice(0, cursor) + part;
        cursor = part === '\n' || part === '\r' ? 0 : lines.at(-1)!.length;
      }
    },
  };
  let cursor = 0;
  return { terminal: { stdout: stream, stderr: stream } satisfies Terminal, lines: () => lines, raw: () => raw };
}

test('control characters are printed as escapes, line breaks and tabs as they are', () => {
  const { terminal, raw } = emulator();
  const screen = screenOf(terminal);
  screen.stdout.write('red \x1b[31m, bell \x07, \x9b2J, right-to-left \u202e\n\tend\n');
  screen.printError('\x1b]0;title\x07: found \x1b[2J');
  expect(raw()).toBe(
    'red \\u001b[31m, bell \\u0007, \\u009b2J, right-to-left \\u202e\n\tend\n\\u001b]0;title\\u0007: found \\u001b[2J\n',
  );
});

test('escapes in JSON that is printed parse to the same text', () => {
  const { terminal, raw } = emulator();
  const value = { text: 'a\x1b[31m\x9b\u2028\u202e\ufeff' };
  screenOf(terminal).stdout.write(`${JSON.stringify(value)}\n`);
  expect(JSON.parse(raw())).toEqual(value);
});

test('text is written above the status line, also to stdout and in parts', () => {
  const { terminal, lines } = emulator();
  const screen = screenOf(terminal);
  screen.setStatus('1 of 3', 6);
  screen.stdout.write('first ');
  expect(lines()).toEqual(['first ']);
  screen.setStatus('2 of 3', 6);
  expect(lines()).toEqual(['first ']);
  screen.stdout.write('line\n');
  expect(lines()).toEqual(['first line', '2 of 3']);
  screen.stderr.write('SIGINT: stopping\n');
  expect(lines()).toEqual(['first line', 'SIGINT: stopping', '2 of 3']);
  screen.endStatus();
  screen.stdout.write('Stopped.\n');
  expect(lines()).toEqual(['first line', 'SIGINT: stopping', '2 of 3', 'Stopped.', '']);
});

test('colours are used only where the terminal has them', () => {
  const [plain, coloured] = [emulator(), emulator(40, { colours: true })];
  for (const { terminal } of [plain, coloured]) screenOf(terminal).printError('run.yaml:3: beta: expected a number');
  expect(plain.raw()).toBe('run.yaml:3: beta: expected a number\n');
  expect(coloured.raw()).toBe('\x1b[31mrun.yaml:3:\x1b[0m beta: expected a number\n');
});

test('a terminal without cursor control is not drawn on', () => {
  vi.stubEnv('TERM', 'dumb');
  try {
    expect(screenOf(emulator().terminal).isInteractive).toBe(false);
  } finally {
    vi.unstubAllEnvs();
  }
});

test('an error is of bounded size', () => {
  const { terminal, raw } = emulator();
  screenOf(terminal).printError(`${'x'.repeat(1_000_000)}\n${'line\n'.repeat(1_000_000)}`);
  expect(raw().length).toBeLessThan(4000);
  expect(raw()).toContain('… (998000 more characters)\nline\n');
  expect(raw()).toMatch(/… and more lines\n$/);
});
