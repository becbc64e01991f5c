// A Python with transformers and PEFT, for the tests that compare our models and adapters with them.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

const IMPORTS = 'import torch, transformers'; // takes seconds
const FINDS = "from importlib.util import find_spec as f; exit(not (f('torch') and f('transformers')))";
const TORCH = 'torch==2.13.0';
const PACKAGES = ['transformers[serving]==5.23.0', 'tokenizers', 'safetensors', 'numpy', 'jinja2', 'peft==0.19.1'];
/** What a complete installation has, in its file `ready`. */
const CONTENTS = PACKAGES.join(' ');
const GIGABYTES = 6;

/**
 * Finds a Python that imports torch and transformers: `WPO_PYTHON`, else `python3`, else one that pip installs under the user's
 * cache folder (`$XDG_CACHE_HOME/wpo/python`). A failed installation is not tried again until that folder is deleted.
 *
 * By default only a build of PyTorch without CUDA is downloaded: about 250 MB, where pip's configured sources offer one. The
 * build for Linux on x86 on PyPI brings over 2 GB of CUDA packages and does not load without them: `WPO_PYTHON_CUDA=1` allows it.
 *
 * @param {(line: string) => void} [say] called with progress, and with the reason if there is no such Python
 * @returns {string | null} the command to run, or null
 */
export function ensurePython(say = console.log) {
  const named = process.env.WPO_PYTHON;
  if (named) {
    const { status, ...failure } = run(named, ['-c', IMPORTS]);
    if (status === 0) return named;
    return skip(say, `WPO_PYTHON is ${named}, which cannot import torch and transformers (${lastLine(failure)})`);
  }
  if (finds('python3')) return 'python3';
  const folder = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'wpo/python');
  const python = join(folder, 'bin/python');
  if (existsSync(join(folder, 'ready')) && finds(python)) {
    if (readFileSync(join(folder, 'ready'), 'utf8') === CONTENTS) return python;
    say(`Python: adding packages in ${folder}`); // an earlier version installed fewer
    const { status } = installInto(python, ...PACKAGES);
    if (status === 0) writeFileSync(join(folder, 'ready'), CONTENTS);
    return python; // tests of the packages that are missing are skipped with a message
  }
  if (existsSync(join(folder, 'failed'))) {
    return skip(
      say,
      `an earlier installation failed (${readFileSync(join(folder, 'failed'), 'utf8')}); delete ${folder} to try again`,
    );
  }
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const missing = whatIsMissing(folder);
  if (missing) return skip(say, missing);
  say(`Python: installing transformers in ${folder}`);
  const problem = build(folder, python);
  writeFileSync(join(folder, problem ? 'failed' : 'ready'), problem ?? CONTENTS);
  return problem ? skip(say, problem) : python;
}

function whatIsMissing(folder) {
  if (run('python3', ['--version']).error) return 'there is no python3';
  if (run('python3', ['-m', 'pip', '--version']).status !== 0) return 'python3 has no pip';
  const { bavail, bsize } = statfsSync(folder);
  const free = (bavail * bsize) / 1e9;
  if (free < GIGABYTES) return `${folder} has ${free.toFixed(1)} GB free, and it may take ${GIGABYTES}`;
  return null;
}

/** Installs the packages in a virtual environment; returns what went wrong, or null. */
function build(folder, python) {
  // without its own pip, since Debian's python3 lacks ensurepip; the system's pip installs into it from outside
  const venv = run('python3', ['-m', 'venv', '--without-pip', folder]);
  if (venv.status !== 0) return `python3 -m venv failed: ${lastLine(venv)}`;
  const install = (...packages) => installInto(python, ...packages);
  const cpuOnly = process.platform !== 'linux' || process.arch !== 'x64';
  const torch = cpuOnly ? install(TORCH) : install(`${TORCH}+cpu`);
  if (torch.status !== 0) {
    if (cpuOnly) return `pip could not install ${TORCH}: ${lastLine(torch)}`;
    if (!process.env.WPO_PYTHON_CUDA) {
      return (
        `pip finds no ${TORCH} without CUDA (${lastLine(torch)}). ` +
        'Set WPO_PYTHON_CUDA=1 to allow a download of the build with CUDA, over 2 GB'
      );
    }
    const withCuda = install(TORCH);
    if (withCuda.status !== 0) return `pip could not install ${TORCH}: ${lastLine(withCuda)}`;
  }
  const rest = install(...PACKAGES);
  if (rest.status !== 0) return `pip could not install ${PACKAGES.join(', ')}: ${lastLine(rest)}`;
  const loaded = run(python, ['-c', IMPORTS]);
  return loaded.status === 0 ? null : `the installed packages do not load: ${lastLine(loaded)}`;
}

const installInto = (python, ...packages) =>
  run('python3', ['-m', 'pip', '--python', python, 'install', '--quiet', '--disable-pip-version-check', ...packages]);
const run = (program, args) => spawnSync(program, args, { encoding: 'utf8' });
const finds = (python) => run(python, ['-c', FINDS]).status === 0;
const lastLine = ({ error, stderr }) => error?.message ?? stderr.trim().split('\n').at(-1);

function skip(say, reason) {
  say(`Python: tests against transformers are skipped: ${reason}.`);
  return null;
}
