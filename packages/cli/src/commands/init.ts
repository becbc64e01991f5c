import { initModel } from '../init/random-model';
import { initRun } from '../init/run-file';
import { checkFlags } from '../schemas/flags';
import { type InitConfig, initSchema } from '../schemas/init';
import { processTerminal, type Terminal } from '../terminal/terminal';

/** `wpo init`: writes the YAML file of a training run, or a model with random weights. Returns the exit status. */
export async function init(options: InitConfig, terminal: Terminal = processTerminal()): Promise<number> {
  checkFlags(initSchema, options);
  const { preset, model, data } = options;
  // checkFlags refuses any other combination
  return preset === undefined
    ? initRun({ ...options, model: model!, data: data! }, terminal)
    : initModel({ ...options, preset }, terminal);
}
