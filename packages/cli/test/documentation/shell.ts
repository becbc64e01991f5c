import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * The programs that a shell script starts, each with its arguments, as bash reads the script: with its quotes, variables, pipes and
 * loops. No program runs: bash finds none, and calls this function in their place. The script's files are in a folder that is removed.
 */
export function commandsOf(script: string): string[][] {
  if (/>\s*\//.test(script))
    throw new Error(`expected no file outside of the working directory, found one:\n${script}`);
  const unnamed = script.replaceAll(/(?<=^|[|;&(]\s*)\/usr\/bin\/(\w+)/gm, "'$1'"); // quoted, a name is no keyword of bash
  const folder = mkdtempSync(join(tmpdir(), 'wpo-shell-'));
  try {
    const log = join(folder, 'log');
    writeFileSync(log, '');
    // one write for each command, since those of a pipe run at the same time
    const record = `command_not_found_handle() { printf '%s\\x1f' "$@" $'\\x1e' >> '${log}'; }`;
    const env = { PATH: folder, HOME: folder };
    const { status, stderr } = spawnSync('/bin/bash', ['-c', `${record}\n${unnamed}`], {
      cwd: folder,
      env,
      encoding: 'utf8',
    });
    if (stderr !== '' || status !== 0) throw new Error(`bash cannot run this script: ${stderr}\n${script}`);
    return readFileSync(log, 'utf8')
      .split('\x1f\x1e\x1f')
      .slice(0, -1)
      .map((command) => command.split('\x1f'));
  } finally {
    rmSync(folder, { recursive: true });
  }
}
