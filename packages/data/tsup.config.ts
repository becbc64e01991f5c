import { library } from '../../tsup.shared';

// split in CommonJS too: both entries must throw the same RowError class
export default library(['src/index.ts', 'src/node.ts'], { platform: 'node', splitting: true });
