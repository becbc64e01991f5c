import { join } from 'node:path';
import { loadPairs, loadTokenizerFolder } from '@wpo/data/node';
import { precomputeReference, runMicroBatch, wpoPairLoss } from '@wpo/trainer';
import { expect, test } from 'vitest';
import { golden, goldenFolder } from '../packages/gemma/test/golden';
import { parity } from '../packages/gemma/test/parity';
import { allBackends, goldenPolicies } from './backends';

// All packages together, from text to gradients. WPO_PARITY=1 prints the largest difference of each comparison, which
// docs/parity.md lists.
test.each(allBackends)(
  "weights, losses and gradients of text rows agree with PyTorch's: %s, %s kernels",
  async (variant, kind) => {
    const expected = golden(variant);
    const { within, report } = parity(`${variant}, ${kind}`);
    const { max_length: maxLength, max_prompt_length: maxPromptLength } = expected.truncation.limits;
    const text = await loadTokenizerFolder(goldenFolder(variant));
    const { pairs } = await loadPairs(join(goldenFolder(variant), '../pairs.jsonl'), {
      ...text,
      maxLength,
      maxPromptLength,
    });
    const ids = pairs.map(({ prompt, chosen, rejected }) => ({
      prompt: [...prompt],
      chosen: [...chosen],
      rejected: [...rejected],
    }));
    expect(ids).toEqual(expected.truncation.paper);

    const { reference, policy } = await goldenPolicies(variant, kind);
    const references = await precomputeReference({ policy: reference, pairs });
    const loss = wpoPairLoss({ beta: 0.1 });
    const run = (count: number, lossScale?: number) => {
      const batch = { pairs: pairs.slice(0, count), references: references.slice(0, count) };
      return runMicroBatch({ policy, batch, loss, lossScale });
    };
    for (const [i, actual] of (await run(pairs.length)).entries()) {
      const pair = expected.pairs[i]!;
      within('log-probs, policy', actual.chosenLogps - pair.chosen_logps, 1e-3);
      within('log-probs, policy', actual.rejectedLogps - pair.rejected_logps, 1e-3);
      within('log-probs, reference', references[i]!.chosen - pair.ref_chosen_logps, 1e-3);
      within('log-probs, reference', references[i]!.rejected - pair.ref_rejected_logps, 1e-3);
      within('weight', actual.weight - pair.weight, 1e-4);
      within('DPO loss', actual.loss / actual.weight - pair.dpo_loss, 1e-4);
      within('WPO loss', actual.loss - pair.wpo_loss, 1e-4);
    }

    await run(4, 1 / 4);
    for (const parameter of policy.parameters) {
      const { norm, first } = expected.gradients[parameter.name]!;
      const actual = (await parameter.gradient()!.data()) as Float32Array;
      const largest = actual.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      const length = Math.sqrt(actual.reduce((sum, value) => sum + value * value, 0));
      within('gradient norms, relative', length / norm - 1, 1e-3, parameter.name);
      for (const [j, value] of first.entries()) {
        within('gradients, of the largest', (actual[j]! - value) / largest, 1e-4, `${parameter.name}[${j}]`);
      }
    }
    report();
  },
);
