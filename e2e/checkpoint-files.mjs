// The files of checkpoints, as `wpo train` writes and reads them. Uses the built packages.
import { openSafetensors, writeSafetensors } from '../packages/gemma/dist/node.js';
import { valuesInParts } from '../packages/trainer/dist/index.js';

export function writeTensors(path, tensors) {
  const toWrite = (tensor) => ({ ...tensor, dtype: 'F32', data: () => valuesInParts(tensor) });
  return writeSafetensors(path, Array.from(tensors, toWrite));
}

export async function* readTensors(path) {
  const stored = await openSafetensors(path);
  for (const name of stored.names()) {
    yield { name, shape: stored.info(name).shape, read: (start, count) => stored.read(name, { start, count }) };
  }
  await stored.close();
}
