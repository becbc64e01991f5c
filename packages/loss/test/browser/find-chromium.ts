import { spawnSync } from 'node:child_process';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];

/**
 * The path of a Chromium: `WPO_CHROMIUM`, one on the PATH, or Debian's, which apt installs if this runs as root. Null,
 * after logging why, where there is none or `WPO_CHROMIUM=none` is set.
 */
export function findChromium(say: (line: string) => void = console.log): string | null {
  const named = process.env.WPO_CHROMIUM;
  if (named === 'none') return none(say, 'WPO_CHROMIUM is none');
  const found = named ? [named].find(runs) : NAMES.find(runs);
  if (found) return pathOf(found);
  if (named) return none(say, `WPO_CHROMIUM is ${named}, which does not run`);
  if (process.getuid?.() !== 0 || !runs('apt-get'))
    return none(say, 'there is none on the PATH, and apt needs root to install one');
  say('Browser: installing Debian’s chromium');
  const problem = install();
  return runs('chromium') ? pathOf('chromium') : none(say, `apt could not install chromium: ${problem}`);
}

const runs = (program: string) => spawnSync(program, ['--version'], { encoding: 'utf8' }).status === 0;

const pathOf = (program: string) => spawnSync('which', [program], { encoding: 'utf8' }).stdout.trim() || program;

function install(): string {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const options = { env, encoding: 'utf8', timeout: 600_000 } as const;
  spawnSync('apt-get', ['update'], options);
  const { status, stderr, error } = spawnSync(
    'apt-get',
    ['install', '-y', '--no-install-recommends', 'chromium'],
    options,
  );
  return status === 0 ? '' : (error?.message ?? stderr.trim().split('\n').at(-1) ?? '');
}

function none(say: (line: string) => void, reason: string): null {
  say(`Browser: the tests of pages are skipped: ${reason}.`);
  return null;
}
