import { join } from 'node:path';
import { documents, root } from '../../../../docs/.vitepress/pages';
import { type CodeBlock, codeBlocks } from '../../../../e2e/support';

/** A code block of the documentation. */
export interface DocumentedBlock extends CodeBlock {
  /** The path of its page in the repository. */
  readonly page: string;
  /** Its page, and its number among the page's blocks of its language, from 1. */
  readonly name: string;
}

/** Pages that are not for users, and docs/cli.md, whose examples are those of the schemas. */
const LEFT_OUT = ['bench/LOG.md', 'docs/cli.md'];

const blocks = documents
  .filter((page) => !LEFT_OUT.includes(page))
  .flatMap((page): DocumentedBlock[] => {
    const counts = new Map<string, number>();
    return codeBlocks(join(root, page)).map((block) => {
      const number = (counts.get(block.language) ?? 0) + 1;
      counts.set(block.language, number);
      return { ...block, page, name: `${page}, ${block.language} ${number}` };
    });
  });

/** The blocks in these languages of all pages that are to be checked. */
export const blocksIn = (...languages: string[]) =>
  blocks.filter(({ language, notChecked }) => languages.includes(language) && notChecked === undefined);

/** The blocks that are not checked, each with the reason. */
export const notChecked = blocks.flatMap(({ name, notChecked: reason }) =>
  reason === undefined ? [] : [{ name, reason }],
);

export const LANGUAGES = [...new Set(blocks.map(({ language }) => language))];
