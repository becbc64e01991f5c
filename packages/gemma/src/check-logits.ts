import { printable } from '@wpo/internal/printable';
import { ModelError } from './errors';
import { findNotFinite, firstNotFinite } from './finite';
import type { Gemma2 } from './model';
import type { Weight } from './ops/contract';
import { parametersOf } from './weights';

/**
 * Checks logits before a token is drawn from them.
 *
 * @param where for the message: the function, and which token it computes
 * @throws ModelError that names the first weight that is not finite, if there is one
 */
export async function checkLogits(logits: Float32Array, model: Gemma2, where: string): Promise<void> {
  const index = firstNotFinite(logits);
  if (index < 0) return;
  const found = `${where}: expected finite logits, found ${logits[index]}`;
  await checkWeights(parametersOf(model), found);
  throw new ModelError(
    `${found}. All weights are finite, but the model's values exceed float32: its weights are too large, as after a training that ` +
      'diverged. Use an earlier checkpoint.',
  );
}

/**
 * Checks the weights that were not scanned when they were loaded, if a log-prob is not finite.
 *
 * @throws ModelError that names the first of them that is not finite
 */
export async function checkLogps(logps: Float32Array, model: Gemma2): Promise<void> {
  const index = firstNotFinite(logps);
  if (index < 0) return;
  const unscanned = parametersOf(model).filter((weight) => weight.value().read);
  await checkWeights(unscanned, `forward: expected finite log-probs, found ${logps[index]}`);
}

async function checkWeights(weights: readonly Weight[], found: string): Promise<void> {
  for (const { name, value } of weights) {
    const problem = await findNotFinite(value());
    if (problem === undefined) continue;
    throw new ModelError(
      `${found}. The weight "${printable(name)}" has ${problem}: the model is damaged, or it diverged in training. Use an earlier ` +
        'checkpoint.',
    );
  }
}
