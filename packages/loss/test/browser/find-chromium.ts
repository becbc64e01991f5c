import { spawnSync } from 'node:child_process';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];

/**
 * A Chromium to run pages in: `WPO_CHROMIUM`, one on the path, or Debian's, installed by apt where this runs as root.
 * Null where there is none and none could be had, the reason said; `WPO_CHROMIUM=none` asks for none.
 */
export function findChromium(say: (line: string) => void = console.log): string | null {
  const named = process.env.WPO_CHROMIUM;
  if (named === 'none') return none(say, 'WPO_CHROMIUM is none');
  const found = named ? [named].find(runs) : NAMES.find(runs);
  if (found) return pathOf(found);
  if (named) return none(say, `WPO_CHROMIUM is ${named}, which does not run`);
  if (process.getuid?.() !== 0 || !runs('apt-get'))
    return none(say, 'none is on the path, and only root installs one by apt');
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
  say(`Browser: no Chromium, so the tests of pages are skipped: ${reason}.`);
  return null;
}
