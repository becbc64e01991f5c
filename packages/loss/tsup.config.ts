import { library } from '../../tsup.shared';

// No shared chunk: it would contain the tensor code too. Rollup's tree shaking merges the imports of tfjs-core into one.
export default library({ index: 'src/index.ts', scalar: 'src/scalar/index.ts' }, { splitting: false, treeshake: true });
