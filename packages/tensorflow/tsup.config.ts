import { library } from '../../tsup.shared';

export default library(['src/index.ts'], { platform: 'node', shims: true });
