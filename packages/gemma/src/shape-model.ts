import type { RowNorms } from './adapter/dora';
import { adaptedModules, type LoraConfig } from './adapter/lora-config';
import type { AdaptedWeight } from './adapter/lora-linear';
import { type Gemma2, type Gemma2Config, weightShapes } from './model';
import type { Weight } from './ops/contract';
import { mapWeights } from './weights';

/**
 * A model whose weights are made from their names and shapes, so that kernels can count the memory of its passes before there are
 * weights.
 *
 * @param makeWeight makes a weight, or a part of an adapter, which then are the only ones that are trainable
 * @param adapter the settings of the model's adapter. Dropout is left out with DoRA
 * @throws Error for settings that choose no module of the model
 */
export function modelOfShapes(
  config: Gemma2Config,
  makeWeight: (name: string, shape: readonly number[], trainable: boolean) => Weight,
  adapter?: LoraConfig,
): Gemma2 {
  const modules = new Map(
    (adapter ? adaptedModules(adapter, config, 'target_modules') : []).map((one, index) => [
      `${one.name}.weight`,
      { ...one, index },
    ]),
  );
  const weight = (shape: readonly number[], name: string): Weight => {
    const base = makeWeight(name, shape, !adapter);
    const adaptedModule = modules.get(name);
    if (!adaptedModule) return base;
    const {
      r,
      scaling,
      index,
      shape: [outFeatures, inFeatures],
    } = adaptedModule;
    const a = makeWeight(`${name}.lora_A`, [r, inFeatures], true);
    const b = makeWeight(`${name}.lora_B`, [outFeatures, r], true);
    const rate = adapter!.loraDropout;
    const dropout = rate > 0 && !adapter!.useDora ? { rate, seed: 0, module: index } : null;
    const magnitude = adapter!.useDora && makeWeight(`${name}.lora_magnitude_vector`, [outFeatures], true);
    const dora = magnitude ? { magnitude, norms: noNorms } : null;
    const adapted: AdaptedWeight = { ...base, trainable: false, lora: { a, b, scaling, dora, dropout } };
    return adapted;
  };
  return { config, ...mapWeights(weightShapes(config), weight) };
}

/** Weights without values have no norms. */
const noNorms: RowNorms = {
  inPass() {
    throw new Error('modelOfShapes: DoRA needs the values of weights. Run the model on kernels with `doraScale`.');
  },
  dispose() {},
};
