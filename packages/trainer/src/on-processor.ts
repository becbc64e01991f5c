import * as tf from '@tensorflow/tfjs-core';

/**
 * Runs `work` on tfjs's own processor backend where tensors are TensorFlow's. A loss is hundreds of operations on a few hundred
 * numbers: what takes time is to start them, above all on a GPU, and JavaScript's start at once.
 */
export function onProcessor<T>(work: () => T): T {
  const before = tf.getBackend();
  if (before !== 'tensorflow' || !tf.findBackendFactory('cpu')) return work();
  use('cpu');
  (tf.backend() as { firstUse?: boolean }).firstUse = false; // it would advise to install what is in use
  try {
    return work();
  } finally {
    use(before);
  }
}

/** Both are there at once, though tfjs answers with a promise. */
function use(backend: string): void {
  void tf.setBackend(backend);
}
