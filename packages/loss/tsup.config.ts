import { library } from '../../tsup.shared';

// one file an entry, for a shared one would hold the tensors' half too; rollup's pass gathers the imports of tfjs-core in one
export default library({ index: 'src/index.ts', scalar: 'src/scalar/index.ts' }, { splitting: false, treeshake: true });
