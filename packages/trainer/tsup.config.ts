import { library } from '../../tsup.shared';

export default library(['src/index.ts', 'src/node.ts'], { platform: 'node', external: ['koffi'] });
