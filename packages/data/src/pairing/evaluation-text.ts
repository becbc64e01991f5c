import { describe, fail, field, isFields, promptTurns } from '../rows/preference-row';
import type { Place } from '../rows/row-error';

/**
 * What a row of an evaluation set asks: `instruction` as AlpacaEval has it, `question`, or `prompt`, as text or as turns.
 *
 * @throws {RowError} where the row has none of them
 */
export function evaluationText(value: unknown, at: Place): string {
  const row = isFields(value) ? value : {};
  const text = field(row, 'instruction') ?? field(row, 'question');
  if (typeof text === 'string') return text;
  const turns = promptTurns(row, at);
  if (turns !== undefined) return turns.map(({ content }) => content).join('\n');
  return fail(at, {
    found: isFields(value) ? `the fields ${Object.keys(value).slice(0, 5).join(', ') || 'of none'}` : describe(value),
    wanted: '"instruction", "question" or "prompt"',
    mend: 'Name what the evaluation asks so.',
  });
}
