import { library } from '../../tsup.shared';

export default library(['src/index.ts', 'src/doctor.ts'], { platform: 'node', shims: true });
