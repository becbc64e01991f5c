import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

// A project as a user has it: outside this repository, with packages that npm installed.

/** A folder with a package.json and nothing else. */
export function emptyProject(folder: string, name: string): string {
  const project = join(folder, name);
  mkdirSync(project);
  writeFileSync(join(project, 'package.json'), '{ "private": true }');
  return project;
}

/** @param what tarballs, or names with versions */
export function npmInstall(project: string, ...what: string[]): void {
  // tfjs-node-gpu's install script gets an address without a server, as on a closed network, so that it downloads nothing
  const env = { TFJS_NODE_BASE_URI: 'http://127.0.0.1:9/' };
  run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', ...what], project, env);
}

/** Runs code from a file in the project. Returns what it prints. */
export function script(project: string, file: string, code: string): string {
  writeFileSync(join(project, file), code);
  return run(process.execPath, [file], project).trim();
}

/** Runs a program as from a new shell, without the environment variables of npm, pnpm and vitest. */
export function run(program: string, args: readonly string[], cwd: string, more: NodeJS.ProcessEnv = {}): string {
  const own =
    /^(npm_(package|lifecycle|command|execpath|node_execpath|config_(call|package|local_prefix))|INIT_CWD|NODE_(ENV|PATH)|VITEST)/i;
  const env = { ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !own.test(name))), ...more };
  const { status, error, stdout, stderr } = spawnSync(program, args, { cwd, env, encoding: 'utf8' });
  if (error) throw error;
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} exited with ${status}:\n${stdout}${stderr}`);
  return stdout;
}

export function readJson(path: string): unknown {
  return JSON.parse(readFileSync(path, 'utf8'));
}
