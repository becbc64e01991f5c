import { library } from '../../tsup.shared';

export default library(
  {
    index: 'src/index.ts',
    pairing: 'src/pairing/index.ts',
    hub: 'src/hub/index.ts',
    node: 'src/node.ts',
    'encode-worker': 'src/node/encode-worker.ts',
  },
  {
    platform: 'node',
    shims: true, // gives CommonJS the URL by which the worker is found
  },
);
