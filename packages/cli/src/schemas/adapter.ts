import type { LoraConfig } from '@wpo/gemma';
import { boolean, integer, number, path, texts } from './fields';
import type { Naming, Parsed, Problem } from './schema';

/** The adapter that `wpo train` trains. Names and defaults are TRL's and PEFT's, except that there is no dropout, which TRL turns off. */
export const adapterFields = {
  usePeft: boolean({
    default: false,
    help: 'train a LoRA adapter and leave the model as it is; model/ is then an adapter’s folder in PEFT’s format',
  }),
  adapterNameOrPath: path('model', {
    help:
      'train this adapter further, with its own settings: a folder in PEFT’s format, or org/name on the Hub; it is also the ' +
      'reference, as in TRL',
  }),
  loraR: integer({ min: 1, max: 2 ** 20, default: 16, help: 'rank of the adapter' }),
  loraAlpha: number({ above: 0, max: 1e9, default: 32, help: 'the adapter’s update is scaled by lora_alpha / lora_r' }),
  loraDropout: number({
    min: 0,
    below: 1,
    default: 0,
    help: 'share of the adapter’s inputs that are set to 0 in training; TRL’s DPOTrainer always trains without',
  }),
  loraTargetModules: texts(
    'all-linear, the name of a linear layer such as q_proj, a list of names, or a regular expression',
    {
      default: ['q_proj', 'v_proj'],
      help: 'linear layers that get an adapter: names, all-linear, or one regular expression in Python’s syntax for whole names',
    },
  ),
  useRslora: boolean({ default: false, help: 'scale the update by lora_alpha / √lora_r instead' }),
  useDora: boolean({ default: false, help: 'DoRA: also train the norm of each row of the adapted weights' }),
};

export type AdapterSettings = Parsed<typeof adapterFields>;

/** Whether the run trains an adapter, and not the model. */
export const trainsAdapter = ({ usePeft, adapterNameOrPath }: AdapterSettings): boolean =>
  usePeft || adapterNameOrPath !== undefined;

/** The settings of a new adapter. */
export const loraSettings = (config: AdapterSettings): Partial<LoraConfig> => ({
  r: config.loraR,
  loraAlpha: config.loraAlpha,
  loraDropout: config.loraDropout,
  targetModules: targetsOf(config.loraTargetModules),
  useRslora: config.useRslora,
  useDora: config.useDora,
});

/** A single text is a name if it can be one, else a regular expression or all-linear. */
function targetsOf(given: readonly string[]): LoraConfig['targetModules'] {
  const [only] = given;
  return given.length === 1 && !isName(only!) ? only! : given;
}

const isName = (text: string) => /^[\w.]+$/.test(text);

/** The fields that describe a new adapter. */
const NEW_ADAPTER = ['loraR', 'loraAlpha', 'loraDropout', 'loraTargetModules', 'useRslora', 'useDora'] as const;

/** Finds settings of an adapter that contradict each other. */
export function checkAdapter(config: AdapterSettings, name: Naming): Problem[] {
  const set = NEW_ADAPTER.filter((field) => String(config[field]) !== String(adapterFields[field].default));
  if (config.adapterNameOrPath !== undefined) {
    const expected = `no value with ${name('adapterNameOrPath')}`;
    const hint = 'The adapter has its own settings, which stay.';
    return set.map((field) => ({ field, expected, found: String(config[field]), hint }));
  }
  if (!config.usePeft) {
    const expected = `${name('usePeft')}: true with it`;
    return set.map((field) => ({
      field,
      expected,
      found: String(config[field]),
      hint: 'Without it, all weights are trained.',
    }));
  }
  const field = 'loraTargetModules';
  const other = config[field].find((text) => !isName(text));
  if (config[field].length < 2 || other === undefined) return [];
  const hint = 'Give a regular expression or all-linear alone, or list names only.';
  return [{ field, expected: 'names of linear layers in a list', found: other, hint }];
}
