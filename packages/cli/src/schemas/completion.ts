import { choice } from './fields';
import { type ConfigOf, commandSchema } from './schema';

/** `wpo completion`. */
export const completionSchema = commandSchema({
  name: 'completion',
  summary: 'print the script that completes wpo in a shell',
  description: [
    'Prints a script for the shell. With it, the Tab key completes commands, flags, their values, and the keys of --set. It needs wpo on ' +
      'the PATH (npm install --global @wpo/cli). Put the command of your shell, below, in its start-up file.',
  ],
  fields: {
    shell: choice(
      { bash: '~/.bashrc', zsh: '~/.zshrc, after compinit', fish: '~/.config/fish/config.fish' },
      { required: true, help: 'the shell', flag: { positional: true } },
    ),
  },
  examples: ['source <(wpo completion bash)', 'source <(wpo completion zsh)', 'wpo completion fish | source'],
});

export type Shell = ConfigOf<typeof completionSchema>['shell'];
