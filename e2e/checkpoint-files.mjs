// The files of checkpoints, as `wpo train` writes and reads them. Uses the built packages.
import { openSafetensors, writeSafetensors } from '../packages/gemma/dist/node.js';
import { valuesInParts } from '../packages/trainer/dist/index.js';

export function writeTensors(path, tensors) {
  const toWrite = (tensor) => ({ ...tensor, dtype: tensor.type, data: () => valuesInParts(tensor) });
  return writeSafetensors(path, Array.from(tensors, toWrite));
}

export async function* readTensors(path) {
  const stored = await openSafetensors(path);
  for (const name of stored.names()) {
    const { shape, dtype: type } = stored.info(name);
    yield { name, shape, type, read: (start, count) => stored.read(name, { start, count }) };
  }
  await stored.close();
}
