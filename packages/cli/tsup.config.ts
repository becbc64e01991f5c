import { library } from '../../tsup.shared';

export default library(['src/index.ts', 'src/main.ts'], { platform: 'node' });
