import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { redact } from '@wpo/internal/node/redact';
import { version } from '../package.json';
import { shellWord } from './invocation';

/** Environment variables with keys, which no report contains. */
const SECRETS = /KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL/i;

/**
 * A request to report a fault of the program: what failed, the version, and the command, without keys and passwords. The
 * stack is in a file beside it, or in the text with WPO_DEBUG=1.
 *
 * @param error whatever was thrown
 * @param args the arguments after `wpo`
 */
export function bugReport(error: unknown, args: readonly string[]): string {
  const stack = withoutSecrets(describe(error));
  const [first = ''] = stack.split('\n');
  const file = process.env.WPO_DEBUG === '1' ? undefined : writeStack(stack);
  return [
    `This is a fault of wpo, not of your input: ${first.slice(0, 300)}`,
    `Please report it where you got wpo, with these lines${file === undefined ? '' : ` and the file ${file}`}:`,
    `  wpo ${version}, Node ${process.versions.node}, ${process.platform}-${process.arch}`,
    `  wpo ${withoutSecrets(withoutHeaders(args).map(shellWord).join(' ')).slice(0, 1000)}`,
    ...(file === undefined ? [stack] : []),
  ].join('\n');
}

/** The text of anything that can be thrown, even if reading it throws. */
function describe(error: unknown): string {
  try {
    const text = inspect(error, { depth: 3, maxArrayLength: 20, maxStringLength: 2000, breakLength: 120 });
    return error instanceof Error ? text : `Uncaught value: ${text}`;
  } catch {
    return 'Uncaught value that cannot be shown';
  }
}

function withoutSecrets(text: string): string {
  const secrets = Object.entries(process.env).flatMap(([name, value]) =>
    SECRETS.test(name) && value !== undefined && value.length >= 6 ? [value] : [],
  );
  return redact(text, secrets)
    .replace(/([a-z][a-z0-9+.-]*:\/\/)[^\s/@]*@/gi, '$1***@')
    .replace(/[^\s/@:'"=]+:[^\s/@'"]+@/g, '***@') // an address without its scheme
    .replace(/([?&][^\s=&]*=)[^\s&'"]+/g, '$1***')
    .replace(/((?:key|token|secret|password)["']?\s*[=:]\s*["']?)[^\s"',}]+/gi, '$1***');
}

/** The arguments without the values of `--headers`. */
const withoutHeaders = (args: readonly string[]): string[] =>
  args.map((arg, i) =>
    args[i - 1] === '--headers' || arg.startsWith('--headers=')
      ? arg.replace(/^((?:--headers=)?[^=]*=?).*/s, '$1***')
      : arg,
  );

function writeStack(stack: string): string | undefined {
  const path = join(tmpdir(), `wpo-error-${process.pid}-${Date.now()}.txt`);
  try {
    writeFileSync(path, `wpo ${version}\n${stack}\n`, { mode: 0o600 });
    return path;
  } catch {
    return undefined;
  }
}
