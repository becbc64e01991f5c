import { library } from '../../tsup.shared';

export default library(['src/index.ts', 'src/node.ts'], {
  platform: 'node',
  splitting: true, // in CommonJS too: both entries must throw the same EvaluationError class
});
