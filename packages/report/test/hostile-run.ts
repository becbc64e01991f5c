import type { Run } from '../src';
import { HOSTILE } from './chromium';

/** A run whose every text is hostile. */
export function hostileRun(name: string, learningRate = '1e-6'): Run {
  const steps = Array.from({ length: 20 }, (_, i) => i + 1);
  const tokens = [HOSTILE, ' river', '\n'].map((text, i) => ({ text, logp: -i - 0.5, alignment: -1 }));
  return {
    name: `${name} ${HOSTILE}`,
    status: HOSTILE,
    metrics: [
      { step: 0, eval_loss: 0.7, 'eval_rewards/margins': 0 },
      ...steps.map((step) => ({
        ...{ step, loss: 0.7 / step, grad_norm: 1, learning_rate: 1e-6, memory_bytes: 1e9, num_tokens: 100 * step },
        ...{ 'rewards/margins': step / 20, 'rewards/accuracies': 0.5, tokens_per_second: 50, 'wpo/weight': 0.3 },
      })),
      { step: 20, eval_loss: 0.5, 'eval_rewards/margins': 0.4 },
    ],
    pairs: steps.map((step) => ({
      ...{ step, id: `${step} ${HOSTILE}`, source_chosen: HOSTILE, source_rejected: 'x', weight: 0.5 ** step },
      ...{ margin: 0.1, chosen_tokens: step, rejected_tokens: 2 },
    })),
    scored: [
      {
        ...{ id: HOSTILE, rank: 'lowest', by: 'weight', step: 1, weight: 0.1, margin: 0.2, prompt: HOSTILE },
        ...{ chosen: tokens, rejected: tokens, omitted: { chosen: 0, rejected: 7 } },
      },
    ],
    samples: [{ prompt: HOSTILE, answers: [0, 4, 20].map((step) => ({ step, text: HOSTILE })) }],
    settings: [
      { key: 'train_file', value: HOSTILE, isDefault: false },
      { key: 'learning_rate', value: learningRate, isDefault: false },
    ],
    environment: [['CPU', HOSTILE]],
  };
}
