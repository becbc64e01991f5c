import { adafactor, adamW, adamW8bit, lion, type OptimizerKernel, type RuleOptimizer, sgd } from '@wpo/trainer';
import type { TrainingMemory } from '../memory';
import type { TrainConfig } from '../schemas/train';

/** The optimizer of a run, under Transformers' names. @param kernel undefined for portable updates */
export function optimizerOf(config: TrainConfig, kernel?: OptimizerKernel): RuleOptimizer {
  const { optim, adamBeta1: beta1, adamBeta2: beta2, adamEpsilon: epsilon, weightDecay, seed } = config;
  const options = { weightDecay, roundingSeed: seed, ...(kernel && { kernel }) };
  switch (optim) {
    case 'adamw_torch':
      return adamW({ beta1, beta2, epsilon, ...options });
    case 'adamw_bnb_8bit':
      return adamW8bit({ beta1, beta2, epsilon, float32SecondMoment: isEmbedding, ...options });
    case 'lion_32bit':
      return lion({ beta1, beta2, ...options });
    case 'adafactor':
      return adafactor(options);
    case 'sgd':
      return sgd(options);
  }
}

/** What training takes of the memory of the device that computes, beside that of the passes. @param processes of the run */
export const trainingMemory = (config: TrainConfig, processes: number): TrainingMemory => ({
  stateBytes: config.offloadOptimizer === 'cpu' ? () => 0 : stateBytesOf(config, processes),
  gradients: heldGradients(config),
});

/** Bytes of the optimizer's state for a weight, in one of the processes of a run. */
export function stateBytesOf(config: TrainConfig, processes: number): RuleOptimizer['stateBytes'] {
  const { stateBytes } = optimizerOf(config);
  return config.sharding === 'none' ? stateBytes : (weight) => stateBytes(weight) / processes;
}

/** The gradients that the device holds at once. */
export const heldGradients = ({ optimizerInBwd, offloadGradients }: TrainConfig): TrainingMemory['gradients'] =>
  optimizerInBwd ? 'one block' : offloadGradients === 'cpu' ? 'two blocks' : 'all';

/** Most rows of an embedding's gradient are 0, so a block of 256 second moments has values of very different sizes. */
const isEmbedding = ({ name }: { readonly name: string }) => name === 'model.embed_tokens.weight';
