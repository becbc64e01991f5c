import { library } from '../../tsup.shared';

export default library(
  { index: 'src/index.ts', doctor: 'src/doctor.ts', kernels: 'src/kernels/index.ts' },
  { platform: 'node', shims: true },
);
