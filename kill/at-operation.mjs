// Loaded into a `wpo` process by `node --import`. Counts the operations that change files in the folder WPO_KILL_ROOT, and at one of
// them ends the process, stops it, cuts the power, or begins to refuse writes as a full disk does. WPO_KILL is JSON:
// {"at", "phase", "how", "seed", "delay"}.
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { resolve } from 'node:path';
import { recordDisk } from './power-loss.mjs';

const root = resolve(process.env.WPO_KILL_ROOT);
/** @type {{at?: number, phase?: 'before' | 'half' | 'after' | 'later', how?: 'kill' | 'power' | 'stop' | 'refuse', seed?: number, delay?: number}} */
const { at, phase, how, seed = 0, delay = 0 } = JSON.parse(process.env.WPO_KILL ?? '{}');
const disk = how === 'power' ? recordDisk(root, seed) : undefined;
/** @type {WeakMap<object, string>} */
const paths = new WeakMap();
let count = 0;
let refuses = false;
const REFUSALS = ['ENOSPC', 'EDQUOT', 'EROFS', 'EMFILE', 'EFBIG', 'EIO'];

const isInside = (/** @type {unknown} */ path) =>
  typeof path === 'string' && `${resolve(path)}/`.startsWith(`${root}/`);

function strike() {
  if (how === 'refuse') {
    refuses = true;
    return;
  }
  if (how === 'stop') return void process.kill(process.pid, 'SIGSTOP');
  disk?.losePower();
  process.kill(process.pid, 'SIGKILL');
}

/**
 * Runs an operation, and strikes at its phase if it is the chosen one.
 * @template T
 * @param {() => Promise<T>} run
 * @param {(() => Promise<unknown>) | undefined} runHalf
 * @param {() => void} [done]
 * @param {boolean} [removes] a full disk allows it
 */
async function operation(run, runHalf, done, removes = false) {
  count += 1;
  const chosen = count === at;
  if (chosen && (phase === 'before' || (phase === 'half' && !runHalf))) strike();
  if (chosen && phase === 'half' && runHalf && how !== 'stop') {
    await runHalf();
    strike();
  }
  if (refuses && !removes) {
    const code = REFUSALS[seed % REFUSALS.length];
    throw Object.assign(new Error(`${code}: refused, write`), { code, syscall: 'write' });
  }
  const result = await run();
  done?.();
  if (chosen && phase === 'after') strike();
  if (chosen && phase === 'later') setTimeout(strike, delay);
  return result;
}

/** @type {Record<string, any>} */
const promises = fs.promises;
const open = promises.open;
promises.open = async (/** @type {string} */ path, /** @type {string} */ flags = 'r', /** @type {any[]} */ ...more) => {
  const opens = () => open(path, flags, ...more);
  const writes = isInside(path) && flags !== 'r';
  const isNew = !fs.existsSync(path);
  const handle = await (writes ? operation(opens, undefined, () => disk?.changed(path, isNew)) : opens());
  if (isInside(path)) paths.set(handle, path);
  return handle;
};
for (const name of ['rename', 'rm', 'mkdir', 'writeFile', 'unlink', 'symlink', 'copyFile']) {
  const original = promises[name];
  promises[name] = (/** @type {any[]} */ ...args) => {
    const changed = args.slice(0, 2).filter(isInside);
    if (changed.length === 0) return original(...args);
    const half = name === 'writeFile' ? () => original(args[0], halfOf(args[1])) : undefined;
    const isNew = name !== 'rename' && !fs.existsSync(changed[0]);
    return operation(
      () => original(...args),
      half,
      () => {
        for (const path of changed) disk?.changed(path, isNew);
      },
      name === 'rm' || name === 'unlink',
    );
  };
}
const probe = await open(process.execPath, 'r');
const methods = Object.getPrototypeOf(probe);
await probe.close();
for (const name of ['write', 'writeFile', 'appendFile', 'truncate', 'sync']) {
  const original = methods[name];
  methods[name] = function (/** @type {any[]} */ ...args) {
    const path = paths.get(this);
    if (path === undefined) return original.apply(this, args);
    const half = () => original.apply(this, name === 'write' ? halfWrite(args) : [halfOf(args[0])]);
    const canHalve = name !== 'sync' && name !== 'truncate';
    const done = () => name === 'sync' && disk?.synced(path);
    return operation(() => original.apply(this, args), canHalve ? half : undefined, done);
  };
}
syncBuiltinESMExports();

const halfOf = (/** @type {string | Uint8Array} */ data) =>
  typeof data === 'string' ? data.slice(0, data.length / 2) : data.subarray(0, data.length / 2);
const halfWrite = (/** @type {any[]} */ [data, offset = 0, length = data.length - offset, position]) => [
  data,
  offset,
  Math.floor(length / 2),
  position,
];

process.on('exit', () => fs.writeSync(2, `\n[${count} file operations]\n`));
