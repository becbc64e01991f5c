import { basename, delimiter, dirname, sep } from 'node:path';

/**
 * The command that runs `wpo` again in the way in which this process was started, for messages that the user can copy:
 * `wpo`, `npx wpo`, `pnpm exec wpo`, `yarn wpo`, or `npm run -s wpo --` in a clone of the repository.
 */
export function wpoCommand(env: NodeJS.ProcessEnv = process.env, script = process.argv[1] ?? ''): string {
  const isInstalled = script.includes(`${sep}node_modules${sep}`);
  if (basename(script) === 'wpo.mjs' && !isInstalled) return 'npm run -s wpo --';
  if (basename(script) !== 'wpo' && basename(script) !== 'wpo.mjs') return 'wpo'; // started by another program
  const agent = env.npm_config_user_agent ?? '';
  if (agent.startsWith('pnpm/')) return 'pnpm exec wpo';
  if (agent.startsWith('yarn/')) return 'yarn wpo';
  if (!isInstalled) return 'wpo';
  // npm adds node_modules/.bin to the PATH only of what it runs
  const isOnPath = agent === '' && (env.PATH ?? '').split(delimiter).includes(dirname(script));
  return isOnPath ? 'wpo' : 'npx wpo';
}

/** An argument as a shell reads it, in quotes if it needs them. */
export const shellWord = (arg: string): string =>
  /^[\w@%+=:,./-]+$/.test(arg) ? arg : `'${arg.replaceAll("'", `'\\''`)}'`;
