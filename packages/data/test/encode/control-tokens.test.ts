import { describe, expect, it } from 'vitest';
import { ControlTokenCount } from '../../src/encode/control-tokens';
import type { PreferenceRow } from '../../src/index';
import { loadTokenizerFolder } from '../../src/node';
import { fixture, row } from '../fixtures';

const text = await loadTokenizerFolder(fixture('tiny'));

describe('control tokens in the texts of rows', () => {
  const report = (rows: Partial<PreferenceRow>[], options: ConstructorParameters<typeof ControlTokenCount>[0]) => {
    const count = new ControlTokenCount(options);
    for (const more of rows) count.add(row(more));
    return count.report();
  };

  it('are counted, of the tokenizer and of common models', () => {
    const rows = [
      {},
      { chosen: 'a <eos>' },
      { rejected: '<|im_end|>' },
      { context: [{ role: 'user', content: '<bos><start_of_turn>user' }] },
      { chosen: '<unused3> <p>' },
    ];
    const tokens = ['<eos>', '<|im_end|>', '<bos>', '<start_of_turn>'];
    expect(report(rows, text)).toEqual({ rows: 4, tokens: [...tokens, '<unused3>'], first: 'pairs.jsonl:3' });
    expect(report(rows, {})).toEqual({ rows: 3, tokens, first: 'pairs.jsonl:3' });
    const others = '<|eot_id|> <|vision_start|> <｜begin▁of▁sentence｜> [INST] a <|> b || <| c |> <||>';
    expect(report([{ chosen: others }], text).tokens).toEqual(others.split(' ').slice(0, 4));
    expect(report([{}], text)).toEqual({ rows: 0, tokens: [], first: undefined });
  });

  it('belong in rendered prompts and at the end of their answers', () => {
    const rendered = {
      context: [{ role: 'user', content: '<bos><start_of_turn>user' }],
      chosen: 'a<end_of_turn>\n<eos>\n',
    };
    expect(report([rendered, { chosen: '<eos>a<eos>' }], { ...text, promptFormat: 'templated' })).toMatchObject({
      rows: 1,
      tokens: ['<eos>'],
    });
  });
});
