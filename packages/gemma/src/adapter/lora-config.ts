import { describe } from '@wpo/internal/describe';
import { isObject } from '@wpo/internal/json';
import type { Gemma2Config } from '../model';
import { tensorShapes } from '../weights';
import { type PythonPattern, pythonPattern } from './python-pattern';

// Which modules an adapter changes and how strongly: PEFT's LoraConfig, the adapter_config.json of an adapter folder.
// Source: peft tuners/lora/config.py, tuners/tuners_utils.py (check_target_module_exists), utils/other.py (get_pattern_key).

/** PEFT's settings of a LoRA adapter. Names and defaults are PEFT's. */
export interface LoraConfig {
  /** Rank of the update B·A. */
  readonly r: number;
  /** The update is scaled by `loraAlpha / r`, with `useRslora` by `loraAlpha / √r`. */
  readonly loraAlpha: number;
  /** Probability with which an input of A is set to 0 in training. */
  readonly loraDropout: number;
  /**
   * The linear layers that get an adapter: last parts of their names such as `q_proj` or `self_attn.q_proj`; `all-linear`; or a
   * regular expression in Python's syntax, matched against whole names such as `model.layers.0.self_attn.q_proj`.
   */
  readonly targetModules: string | readonly string[];
  /** Modules that `targetModules` would choose, but that get no adapter. */
  readonly excludeModules: string | readonly string[] | null;
  /** Ranks that differ from `r`: by the end of a module's name, or a regular expression for it. */
  readonly rankPattern: Readonly<Record<string, number>>;
  /** Values of alpha that differ from `loraAlpha`, likewise. */
  readonly alphaPattern: Readonly<Record<string, number>>;
  /** Only these layers; null: all. */
  readonly layersToTransform: readonly number[] | null;
  /** Name of the list of layers, or regular expressions for it. */
  readonly layersPattern: readonly string[];
  readonly useRslora: boolean;
  /** DoRA: the rows of W + BA are scaled to trained magnitudes. */
  readonly useDora: boolean;
}

/** The settings of one adapted linear layer. */
export interface AdaptedModule {
  /** The linear layer's name, e.g. `model.layers.0.self_attn.q_proj`. */
  readonly name: string;
  /** `[out, in]` of its weight. */
  readonly shape: readonly [outFeatures: number, inFeatures: number];
  readonly r: number;
  /** Factor of the update B·A. */
  readonly scaling: number;
}

/** PEFT's choice of modules for Gemma-2, where `target_modules` is not set. */
export const DEFAULT_TARGETS: readonly string[] = ['q_proj', 'v_proj'];

/** PEFT's word for every linear layer but the output projection. */
export const ALL_LINEAR = 'all-linear';

/** PEFT's defaults. */
export const loraDefaults: LoraConfig = {
  r: 8,
  loraAlpha: 8,
  loraDropout: 0,
  targetModules: DEFAULT_TARGETS,
  excludeModules: null,
  rankPattern: {},
  alphaPattern: {},
  layersToTransform: null,
  layersPattern: [],
  useRslora: false,
  useDora: false,
};

const MAX_RANK = 2 ** 20;
const MAX_PATTERNS = 1000;

/** Of all patterns together. The names of all modules of Gemma-2 27B, twice, take 40,000. */
const MAX_PATTERN_SIZE = 100_000;

/** Values of `init_lora_weights` that leave the base model as it is. */
const INITIALIZATIONS: readonly unknown[] = [undefined, null, true, false, 'gaussian', 'eva', 'orthogonal'];

/** Keys that must be absent, null, false or empty, and why. */
const UNSUPPORTED: Readonly<Record<string, string>> = {
  fan_in_fan_out: 'Gemma-2 has no layers with transposed weights',
  modules_to_save: 'modules that are trained whole beside an adapter are not supported',
  lora_bias: 'biases of B are not supported',
  layer_replication: 'models with repeated layers are not supported',
  trainable_token_indices: 'trained rows of the embedding are not supported',
  target_parameters: 'adapters of single parameters are not supported',
  megatron_config: "Megatron's parallel layers are not supported",
  use_qalora: 'quantized weights are not supported',
  use_bdlora: 'block-diagonal adapters are not supported',
  alora_invocation_tokens: 'adapters that start at an invocation token are not supported',
  arrow_config: 'routed adapters are not supported',
};

/**
 * Reads a parsed `adapter_config.json`. Keys that do not change the numbers are ignored.
 *
 * @param where the file's name for errors
 * @throws Error for an invalid value or a kind of adapter that is not supported; names file and key
 */
export function parseLoraConfig(json: unknown, where: string): LoraConfig {
  if (!isObject(json)) throw new Error(`${where}: expected an object, found ${describe(json)}.`);
  const refuse = (key: string, expected: string) =>
    new Error(`${where}: ${key}: expected ${expected}, found ${describe(json[key])}.`);
  const read = <T>(key: string, absent: T, accepts: (value: unknown) => value is T, expected: string): T => {
    const value = json[key];
    if (value === undefined || value === null) return absent;
    if (accepts(value)) return value;
    throw refuse(key, expected);
  };
  if (json.peft_type !== 'LORA') throw refuse('peft_type', '"LORA" (other kinds of adapters are not supported)');
  read('task_type', 'CAUSAL_LM', isCausal, '"CAUSAL_LM", or null');
  read('bias', 'none', isNone, '"none" (trained biases are not supported; Gemma-2 has none)');
  for (const [key, reason] of Object.entries(UNSUPPORTED)) {
    if (!isUnset(json[key])) throw refuse(key, `nothing (${reason})`);
  }
  if (!INITIALIZATIONS.includes(json.init_lora_weights)) {
    throw new Error(
      `${where}: init_lora_weights: expected true, false, "gaussian", "eva" or "orthogonal", found ` +
        `${describe(json.init_lora_weights)}, with which PEFT changes the weights of the base model. Save the adapter with ` +
        'save_pretrained(…, path_initial_model_for_weight_conversion=…), which makes it one of the unchanged model.',
    );
  }
  const isLayers = (value: unknown): value is number[] => Array.isArray(value) && value.every(isIndex);
  const layers = typeof json.layers_to_transform === 'number' ? [json.layers_to_transform] : json.layers_to_transform;
  if (layers !== undefined && layers !== null && !isLayers(layers)) {
    throw refuse('layers_to_transform', 'the index of a layer, a list of them, or null');
  }
  const layersPattern = read<string | readonly string[]>(
    'layers_pattern',
    [],
    isNames,
    'a name, a list of names, or null',
  );
  const rank = `a whole number from 1 to ${MAX_RANK}`;
  const byPattern = (key: string, accepts: (value: unknown) => value is number, expected: string) =>
    read(
      key,
      {},
      (value): value is Record<string, number> =>
        isObject(value) && Object.keys(value).length <= MAX_PATTERNS && Object.values(value).every(accepts),
      `an object of at most ${MAX_PATTERNS} patterns, each with ${expected}`,
    );
  return checkPatterns(
    {
      r: read('r', loraDefaults.r, isRank, rank),
      loraAlpha: read('lora_alpha', loraDefaults.loraAlpha, isNumber, 'a finite number'),
      loraDropout: read('lora_dropout', 0, isProbability, 'a number from 0 to below 1'),
      targetModules: read<LoraConfig['targetModules']>(
        'target_modules',
        DEFAULT_TARGETS,
        isNames,
        'a name, a list of names, or null',
      ),
      excludeModules: read<LoraConfig['excludeModules']>('exclude_modules', null, isNames, 'a name, a list, or null'),
      rankPattern: byPattern('rank_pattern', isRank, rank),
      alphaPattern: byPattern('alpha_pattern', isNumber, 'a finite number'),
      layersToTransform: isLayers(layers) && layers.length > 0 ? layers : null,
      layersPattern: [layersPattern].flat(),
      useRslora: read('use_rslora', false, isBoolean, 'true or false'),
      useDora: read('use_dora', false, isBoolean, 'true or false'),
    },
    where,
  );
}

/**
 * Writes an `adapter_config.json` as PEFT loads it.
 *
 * @param base the name or path of the base model, for PEFT and for people
 * @param revision of the base model on the Hub, if it is not `main`
 */
export function writeLoraConfig(config: LoraConfig, base: string, revision?: string): string {
  const { targetModules, excludeModules, layersPattern } = config;
  const json = {
    base_model_name_or_path: base,
    bias: 'none',
    exclude_modules: excludeModules,
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    layers_pattern: layersPattern.length === 0 ? null : layersPattern,
    layers_to_transform: config.layersToTransform,
    lora_alpha: config.loraAlpha,
    lora_bias: false,
    lora_dropout: config.loraDropout,
    modules_to_save: null,
    peft_type: 'LORA',
    r: config.r,
    rank_pattern: config.rankPattern,
    alpha_pattern: config.alphaPattern,
    revision: revision ?? null,
    target_modules: isAllLinear(targetModules) ? LINEAR : targetModules, // PEFT also writes the names
    task_type: 'CAUSAL_LM',
    use_dora: config.useDora,
    use_rslora: config.useRslora,
  };
  return `${JSON.stringify(Object.fromEntries(Object.entries(json).sort(([a], [b]) => (a < b ? -1 : 1))), null, 2)}\n`;
}

/**
 * The linear layers that a config chooses, in checkpoint order, each with its rank and factor.
 *
 * @param at what names the targets in errors, e.g. `adapter_config.json: target_modules`
 * @throws Error if it chooses none, a module that cannot have an adapter, or has a regular expression that cannot be used
 */
export function adaptedModules(config: LoraConfig, model: Gemma2Config, at: string): AdaptedModule[] {
  const linear = [...tensorShapes(model)].flatMap(([tensor, shape]) => {
    const name = tensor.replace(/\.weight$/, '');
    return name.endsWith('_proj') ? [{ name, shape: shape as readonly [number, number] }] : [];
  });
  const chooses = usable(at, () => targetMatcher(config));
  const other = OTHER_MODULES.find((name) => !isAllLinear(config.targetModules) && chooses(name));
  if (other !== undefined) {
    throw new Error(
      `${at}: expected linear layers of the decoder (${LINEAR.join(', ')}), found ${describe(config.targetModules)}, which chooses ` +
        `${other}. Gemma-2 uses one matrix for input and output.`,
    );
  }
  const rankOf = patternLookup(config.rankPattern, config.r);
  const alphaOf = patternLookup(config.alphaPattern, config.loraAlpha);
  const modules = linear
    .filter(({ name }) => chooses(name))
    .map(({ name, shape }): AdaptedModule => {
      const r = rankOf(name);
      return { name, shape, r, scaling: alphaOf(name) / (config.useRslora ? Math.sqrt(r) : r) };
    });
  if (modules.length > 0) return modules;
  throw new Error(
    `${at}: expected names of linear layers of this model (${LINEAR.join(', ')}), found ${describe(config.targetModules)}, which ` +
      `chooses none of its ${linear.length}.`,
  );
}

/** A tensor of an adapter. */
export interface AdapterTensor {
  /** Its name in PEFT's files, e.g. `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`. */
  readonly name: string;
  readonly shape: readonly number[];
  /** A `[r, in]`, B `[out, r]`, or DoRA's magnitudes `[out]`. */
  readonly part: AdapterPart;
  readonly module: AdaptedModule;
}

export type AdapterPart = 'A' | 'B' | 'magnitude';

/** The tensors of an adapter, module by module. */
export const adapterTensors = (
  modules: readonly AdaptedModule[],
  { useDora }: Pick<LoraConfig, 'useDora'>,
): AdapterTensor[] =>
  modules.flatMap((module) => {
    const [outFeatures, inFeatures] = module.shape;
    const tensor = (part: AdapterPart, shape: readonly number[]) => ({
      name: `base_model.model.${module.name}.${TENSOR_NAMES[part]}`,
      shape,
      part,
      module,
    });
    const [a, b] = [tensor('A', [module.r, inFeatures]), tensor('B', [outFeatures, module.r])];
    return useDora ? [a, b, tensor('magnitude', [outFeatures])] : [a, b];
  });

const TENSOR_NAMES = { A: 'lora_A.weight', B: 'lora_B.weight', magnitude: 'lora_magnitude_vector' };

/** The last parts of the names of a layer's linear modules. */
export const LINEAR: readonly string[] = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'];

/** Modules that PEFT could adapt in Gemma-2, too. */
const OTHER_MODULES = ['model.embed_tokens', 'lm_head'];

/** Whether a module gets an adapter: PEFT's check_target_module_exists. */
function targetMatcher(config: LoraConfig): (name: string) => boolean {
  const { targetModules, excludeModules, layersToTransform, layersPattern } = config;
  const isExcluded = excludeModules === null || excludeModules.length === 0 ? () => false : nameMatcher(excludeModules);
  if (isAllLinear(targetModules)) return (name) => !isExcluded(name);
  const isTarget = nameMatcher(targetModules);
  const layerPatterns = layersPattern.map((pattern) => pythonPattern(String.raw`.*\.${pattern}\.(\d+)\.`));
  const isInLayers = (name: string) => {
    const layer = /^model\.layers\.(\d+)\./.exec(name)?.[1];
    if (layer === undefined || (layerPatterns.length > 0 && !layerPatterns.some((one) => one.matchesStart(name))))
      return false;
    return layersToTransform!.includes(Number(layer));
  };
  // A target that is a whole name is not subject to layers_to_transform.
  const needsLayer = (name: string) =>
    layersToTransform !== null && typeof targetModules !== 'string' && !targetModules.includes(name);
  return (name) => !isExcluded(name) && isTarget(name) && (!needsLayer(name) || isInLayers(name));
}

const isAllLinear = (targets: LoraConfig['targetModules']) =>
  typeof targets === 'string' && targets.toLowerCase() === ALL_LINEAR;

/** A regular expression for whole names, or the last parts of names. */
function nameMatcher(names: string | readonly string[]): (name: string) => boolean {
  if (typeof names === 'string') {
    const pattern = pythonPattern(names);
    return (name) => pattern.matchesAll(name);
  }
  return (name) => names.some((end) => name === end || name.endsWith(`.${end}`));
}

/** The value of the first pattern that matches a module's name or the end of it, from a dot on: PEFT's get_pattern_key. */
function patternLookup(patterns: Readonly<Record<string, number>>, otherwise: number): (name: string) => number {
  const compiled = Object.entries(patterns).map(([key, value]) => ({ value, pattern: endPattern(key) }));
  return (name) => compiled.find(({ pattern }) => pattern.matchesStart(name))?.value ?? otherwise;
}

const endPattern = (key: string): PythonPattern => pythonPattern(String.raw`(.*\.)?(${key})$`);

/** Compiles regular expressions. @throws Error that begins with `at` */
function usable<T>(at: string, compile: () => T): T {
  try {
    return compile();
  } catch (error) {
    throw new Error(`${at}: expected a regular expression that can be used, found ${(error as Error).message}.`);
  }
}

/** Checks that all regular expressions of a config can be used. */
function checkPatterns(config: LoraConfig, where: string): LoraConfig {
  const check = (key: string, compile: () => unknown) => usable(`${where}: ${key}`, compile);
  if (
    typeof config.targetModules === 'string' &&
    (config.layersToTransform !== null || config.layersPattern.length > 0)
  ) {
    throw new Error(
      `${where}: layers_to_transform: expected nothing with a target_modules that is one text, found ` +
        `${describe(config.layersToTransform ?? config.layersPattern)}. List the names, or put the layers into the expression.`,
    );
  }
  check('target_modules', () => targetMatcher({ ...config, excludeModules: null, layersPattern: [] }));
  check('exclude_modules', () => targetMatcher({ ...config, layersPattern: [] }));
  check('layers_pattern', () => targetMatcher(config));
  let size = 0;
  const patterns = { rank_pattern: config.rankPattern, alpha_pattern: config.alphaPattern };
  for (const [key, entries] of Object.entries(patterns)) {
    for (const source of Object.keys(entries)) check(key, () => (size += endPattern(source).size));
  }
  if (size <= MAX_PATTERN_SIZE) return config;
  throw new Error(
    `${where}: rank_pattern, alpha_pattern: expected regular expressions of at most ${MAX_PATTERN_SIZE} instructions together, ` +
      `found ${size}.`,
  );
}

const isRank = (value: unknown): value is number =>
  Number.isInteger(value) && Number(value) >= 1 && Number(value) <= MAX_RANK;
const isIndex = (value: unknown): value is number => Number.isInteger(value) && Number(value) >= 0;
const isNumber = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(Math.fround(value));
const isProbability = (value: unknown): value is number => typeof value === 'number' && value >= 0 && value < 1;
const isBoolean = (value: unknown): value is boolean => typeof value === 'boolean';
const isCausal = (value: unknown): value is string => value === 'CAUSAL_LM';
const isNone = (value: unknown): value is string => value === 'none';
const isName = (value: unknown): value is string => typeof value === 'string' && value !== '';
const isNames = (value: unknown): value is string | string[] =>
  isName(value) || (Array.isArray(value) && value.length <= MAX_PATTERNS && value.every(isName));
const isUnset = (value: unknown) =>
  value === undefined ||
  value === null ||
  value === false ||
  (Array.isArray(value) ? value.length === 0 : isObject(value) && Object.keys(value).length === 0);
