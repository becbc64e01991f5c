import { join } from 'node:path';
import { loadPairs, loadTokenizerFolder } from '@wpo/data/node';
import { precomputeReference, runMicroBatch, wpoPairLoss } from '@wpo/trainer';
import { expect, test } from 'vitest';
import { golden, goldenFolder } from '../packages/gemma/test/golden';
import { parity } from '../packages/gemma/test/parity';
import { everyWay, goldenPolicies } from './backends';

// All packages in a row, from text to gradients. WPO_PARITY=1 prints how close each comparison came; docs/parity.md holds
// the figures.
test.each(everyWay)(
  "rows of text have PyTorch's weights, losses and gradients on %s by %s operations",
  async (variant, kind) => {
    const wanted = golden(variant);
    const { within, report } = parity(`${variant}, ${kind}`);
    const { max_length: maxLength, max_prompt_length: maxPromptLength } = wanted.truncation.limits;
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
    expect(ids).toEqual(wanted.truncation.paper);

    const { reference, policy } = await goldenPolicies(variant, kind);
    const references = await precomputeReference({ policy: reference, pairs });
    const loss = wpoPairLoss({ beta: 0.1 });
    const run = (count: number, lossScale?: number) => {
      const batch = { pairs: pairs.slice(0, count), references: references.slice(0, count) };
      return runMicroBatch({ policy, batch, loss, lossScale });
    };
    for (const [i, found] of (await run(pairs.length)).entries()) {
      const pair = wanted.pairs[i]!;
      within('log-probs, policy', found.chosenLogps - pair.chosen_logps, 1e-3);
      within('log-probs, policy', found.rejectedLogps - pair.rejected_logps, 1e-3);
      within('log-probs, reference', references[i]!.chosen - pair.ref_chosen_logps, 1e-3);
      within('log-probs, reference', references[i]!.rejected - pair.ref_rejected_logps, 1e-3);
      within('weight', found.weight - pair.weight, 1e-4);
      within('DPO loss', found.loss / found.weight - pair.dpo_loss, 1e-4);
      within('WPO loss', found.loss - pair.wpo_loss, 1e-4);
    }

    await run(4, 1 / 4);
    for (const parameter of policy.parameters) {
      const { norm, first } = wanted.gradients[parameter.name]!;
      const found = parameter.gradient()!.dataSync() as Float32Array;
      const largest = found.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      const length = Math.sqrt(found.reduce((sum, value) => sum + value * value, 0));
      within('gradient norms, relative', length / norm - 1, 1e-3, parameter.name);
      for (const [j, value] of first.entries()) {
        within('gradients, of the largest', (found[j]! - value) / largest, 1e-4, `${parameter.name}[${j}]`);
      }
    }
    report();
  },
);
