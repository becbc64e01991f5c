import type { AttentionAnswer } from '../ours/attention';
import { row } from '../report';
import { perItem } from '../statistics';
import { inTurns, ours } from '../turns';
import type { Bench, Measured } from './measure';

/** The attention of a layer of Gemma-2 9B. */
const SHAPE = { heads: 16, keyHeads: 8, headSize: 256, softcap: 50 };
const TINY = { heads: 2, keyHeads: 1, headSize: 32, softcap: 50 };

/** The kernels that run where attention is not fused. */
const UNFUSED = 'products and softmax';

/** The tests' limit of `AttentionAnswer.differences` (packages/tensorflow/test/gpu/fused-attention.test.ts). */
const LIMIT = 2;

/** Times fused attention beside attention by products with a softmax between them, and compares both with the portable kernels. */
export async function measureAttention(
  { flags, say }: Pick<Bench, 'flags' | 'say'>,
  lengths: readonly number[],
): Promise<{ readonly measured: Measured; readonly wrong: readonly string[] }> {
  const shape = flags.dry ? TINY : SHAPE;
  const sides = [
    ours('attention', { ...shape, unfused: false }),
    ours('attention', { ...shape, unfused: true }, UNFUSED),
  ];
  const { turns } = await inTurns<AttentionAnswer>(sides, {
    items: lengths.length,
    rounds: flags.rounds,
    request: (item, round) => ({ tokens: lengths[item], round }),
    say: (line) => say(`attention: ${line}`),
  });
  const rows = lengths.flatMap((tokens, item) => {
    const ofItem = turns.filter((turn) => turn.item === item);
    const seconds = (side: string, part: 'forwardSeconds' | 'backwardSeconds') =>
      perItem(ofItem, side, (answer) => answer[part]) ?? null;
    return (['forwardSeconds', 'backwardSeconds'] as const).map((part) =>
      row(
        `attention, ${tokens} tokens`,
        `${part === 'forwardSeconds' ? 'forward' : 'backward'}, s`,
        'less',
        seconds('ours', part),
        {
          [UNFUSED]: seconds(UNFUSED, part),
        },
      ),
    );
  });
  const wrong = turns.flatMap(({ side, item, answer }) =>
    answer.differences.flatMap((found, i) =>
      found <= LIMIT
        ? []
        : [
            `attention, ${lengths[item]} tokens: ${side}: ${['output', 'dq', 'dk', 'dv'][i]}: expected at most ${LIMIT} times the ` +
              `rounding of bfloat16 from the portable kernels, found ${found}`,
          ],
    ),
  );
  return { measured: { rows, turns: turns.map((turn) => ({ measure: 'attention', ...turn })) }, wrong };
}
