import { spawnSync } from 'node:child_process';

/** The Python interpreter that checks our files: `WPO_PYTHON`, or `python3`. */
export const python = process.env.WPO_PYTHON ?? 'python3';

/** Runs a script and parses its output as JSON. @throws Error with the script's error output */
export function runPython(script: string, ...args: string[]): unknown {
  const { status, stdout, stderr, error } = spawnSync(python, ['-c', script, ...args], { encoding: 'utf8' });
  if (error) throw error;
  if (status !== 0) throw new Error(`${python} exited with ${status}:\n${stderr}`);
  return JSON.parse(stdout);
}

/** Whether Python has these modules. If not, prints which tests are skipped. */
export function pythonHas(modules: string, skipped: string): boolean {
  const has = spawnSync(python, ['-c', `import ${modules}`]).status === 0;
  if (!has)
    console.warn(`SKIPPED: ${skipped}: ${python} cannot import ${modules}. Set WPO_PYTHON to an interpreter that can.`);
  return has;
}
