import { spawnSync } from 'node:child_process';

/** The Python that checks what we write: `WPO_PYTHON`, or `python3`. */
const python = process.env.WPO_PYTHON ?? 'python3';

/** Runs a script and gives what it prints as JSON; throws with its errors where it fails. */
export function runPython(script: string, ...args: string[]): unknown {
  const { status, stdout, stderr, error } = spawnSync(python, ['-c', script, ...args], { encoding: 'utf8' });
  if (error) throw error;
  if (status !== 0) throw new Error(`${python} exited with ${status}:\n${stderr}`);
  return JSON.parse(stdout);
}

/** Whether Python has these modules; where not, says aloud what is skipped. */
export function pythonHas(modules: string, skipped: string): boolean {
  const has = spawnSync(python, ['-c', `import ${modules}`]).status === 0;
  if (!has) console.warn(`SKIPPED: ${skipped}: ${python} has no ${modules}; set WPO_PYTHON to one that has.`);
  return has;
}
