import * as tf from '@tensorflow/tfjs-core';
import { TrainingError } from './errors';
import type { Optimizer, OptimizerStep, StoredOptimizerState } from './optimizer';
import type { NamedTensor, Parameter } from './policy';
import { isTensor, type Values } from './values';

/** A parameter to update, with its gradient and its state. */
export interface Update {
  readonly parameter: Parameter;
  readonly gradient: Values;
  /** The tensors that the rule keeps for the parameter, by their names in files. An update may replace them; it disposes the old. */
  readonly state: Record<string, tf.Tensor>;
}

/** An update for tfjs operations. */
export interface TensorUpdate extends Pick<Update, 'state'> {
  readonly parameter: TensorParameter;
  readonly gradient: tf.Tensor;
}

/** What an update reads and changes of a parameter. */
export interface TensorParameter extends Pick<Parameter, 'name' | 'shape' | 'decay' | 'assign'> {
  value(): tf.Tensor;
}

/** The scalars of a step. */
export type Scalars = Readonly<Record<string, number>>;

/** What a rule computes the scalars of a step from. */
export interface StepSettings {
  /** The number of the step, from 1. */
  readonly step: number;
  readonly learningRate: number;
  /** Every gradient is multiplied by this. */
  readonly gradientScale: number;
  /** λ of the parameters: 0 where they do not decay. */
  readonly weightDecay: number;
}

/** What decides the state of a parameter. */
type Weight = Pick<Parameter, 'name' | 'shape'>;

/** How an optimizer changes a parameter: the equations of AdamW, Lion, … */
export interface UpdateRule<S extends Scalars = Scalars> {
  /** The optimizer's name, in errors and to find the native implementation. */
  readonly name: string;
  /** Shapes of the tensors that it keeps for a parameter, by their names in files: `<parameter>.<name>`. */
  state(parameter: Weight): Readonly<Record<string, readonly number[]>>;
  scalars(settings: StepSettings): S;
  /** The portable update, in tfjs operations. */
  update(update: TensorUpdate, scalars: S): void;
}

/** Where an optimizer's state is kept, and what runs the updates. */
export interface OptimizerKernel {
  /** A tensor of zeros for the state. */
  zeros(shape: readonly number[]): tf.Tensor;
  /** Updates parameters that share their scalars. */
  update<S extends Scalars>(rule: UpdateRule<S>, updates: readonly Update[], scalars: S): void;
}

/** tfjs tensors and a rule's portable update, on any tfjs backend. Values outside of tfjs are copied for the update. */
export const portableOptimizer: OptimizerKernel = {
  zeros: (shape) => tf.zeros([...shape]),
  update(rule, updates, scalars) {
    for (const { parameter, gradient, state } of updates) {
      const [value, g] = [asTensor(parameter.value()), asTensor(gradient)];
      const { name, shape, decay } = parameter;
      const assign = (next: tf.Tensor) => parameter.assign(next);
      rule.update(
        { parameter: { name, shape, decay, value: () => value.tensor, assign }, gradient: g.tensor, state },
        scalars,
      );
      value.dispose();
      g.dispose();
    }
  },
};

/** Values as a tensor, which is a copy if they are outside of tfjs. `dispose` frees the copy. */
function asTensor(values: Values): { readonly tensor: tf.Tensor; dispose(): void } {
  if (isTensor(values)) return { tensor: values, dispose() {} };
  const size = values.shape.reduce((product, n) => product * n, 1);
  const tensor = tf.tensor(values.read(0, size), [...values.shape], 'float32');
  return { tensor, dispose: () => tensor.dispose() };
}

export interface RuleOptions {
  /** λ, the weight decay of parameters with `decay`; 0 to 1. Default 0. */
  readonly weightDecay?: number;
  /** The implementation of the updates. Default: portable tfjs operations. */
  readonly kernel?: OptimizerKernel;
}

/** An optimizer that says how much memory its state takes. */
export interface RuleOptimizer extends Optimizer {
  /** Bytes of a parameter's state. */
  stateBytes(parameter: Weight): number;
}

/**
 * The optimizer of a rule. It creates a parameter's state at the parameter's first gradient. A parameter without a gradient does not
 * change and does not decay.
 */
export function optimizerOf<S extends Scalars>(
  rule: UpdateRule<S>,
  { weightDecay = 0, kernel = portableOptimizer }: RuleOptions,
): RuleOptimizer {
  const states = new Map<string, Record<string, tf.Tensor>>();
  let ordered: readonly Parameter[] = []; // so that a state is saved in one order, also after a resume
  let step = 0;

  function stateOf(parameter: Parameter): Record<string, tf.Tensor> {
    const known = states.get(parameter.name);
    if (known) return known;
    const shapes = Object.entries(rule.state(parameter));
    const state = Object.fromEntries(shapes.map(([name, shape]) => [name, kernel.zeros(shape)]));
    states.set(parameter.name, state);
    return state;
  }

  function dispose(): void {
    for (const state of states.values()) tf.dispose(state);
    states.clear();
  }

  return {
    step({ parameters, learningRate, gradientScale }: OptimizerStep) {
      step += 1;
      ordered = parameters;
      for (const decays of [true, false]) {
        const updates = parameters.flatMap((parameter) => {
          const gradient = parameter.decay === decays ? parameter.gradient() : null;
          return gradient ? [{ parameter, gradient, state: stateOf(parameter) }] : [];
        });
        if (updates.length === 0) continue;
        const settings = { step, learningRate, gradientScale, weightDecay: decays ? weightDecay : 0 };
        kernel.update(rule, updates, rule.scalars(settings));
      }
    },
    state: () => ({ step, tensors: namedTensors(ordered, states) }),
    async load(stored, parameters) {
      dispose();
      ordered = parameters;
      for (const [name, state] of await readState(rule, stored, parameters)) states.set(name, state);
      step = stored.step;
    },
    dispose,
    stateBytes: (parameter) =>
      Object.values(rule.state(parameter)).reduce((bytes, shape) => bytes + FLOAT32 * sizeOf(shape), 0),
  };
}

const FLOAT32 = 4;
const sizeOf = (shape: readonly number[]) => shape.reduce((size, length) => size * length, 1);

function* namedTensors(
  parameters: readonly Parameter[],
  states: ReadonlyMap<string, Record<string, tf.Tensor>>,
): Generator<NamedTensor> {
  for (const parameter of parameters) {
    const state = Object.entries(states.get(parameter.name) ?? {});
    for (const [name, tensor] of state) yield { name: `${parameter.name}.${name}`, tensor };
  }
}

/** Reads a stored state. Where it is not that of the rule and the parameters, every tensor read so far is disposed. */
async function readState(
  rule: UpdateRule,
  { tensors }: StoredOptimizerState,
  parameters: readonly Parameter[],
): Promise<Map<string, Record<string, tf.Tensor>>> {
  const shapes = new Map<string, readonly number[]>();
  for (const parameter of parameters) {
    for (const [name, shape] of Object.entries(rule.state(parameter))) shapes.set(`${parameter.name}.${name}`, shape);
  }
  const read = new Map<string, tf.Tensor>();
  const problem = (message: string) =>
    new TrainingError(
      `state of ${rule.name}: ${message}. Resume with the model and the optimizer that it was saved with.`,
    );
  try {
    for await (const { name, tensor } of tensors) {
      const shape = shapes.get(name);
      if (!shape || read.has(name)) {
        tensor.dispose();
        const known = [...shapes.keys()];
        throw problem(
          `expected ${known.length === 0 ? 'no tensors' : `tensors like "${known[0]}", each once`}, found "${name}"`,
        );
      }
      read.set(name, tensor);
      if (String(tensor.shape) !== String(shape)) {
        throw problem(`"${name}": expected shape [${shape}], found [${tensor.shape}]`);
      }
    }
    const states = new Map<string, Record<string, tf.Tensor>>();
    for (const parameter of parameters) {
      const names = Object.keys(rule.state(parameter));
      const missing = names.filter((name) => !read.has(`${parameter.name}.${name}`));
      if (missing.length === names.length) continue; // it has had no gradient
      if (missing.length > 0) throw problem(`expected "${parameter.name}.${missing[0]}", found none`);
      states.set(
        parameter.name,
        Object.fromEntries(names.map((name) => [name, read.get(`${parameter.name}.${name}`)!])),
      );
    }
    return states;
  } catch (error) {
    tf.dispose([...read.values()]);
    throw error;
  }
}

/** A gradient times the step's scale: a tensor that the caller disposes. */
export const scaledGradient = ({ gradient }: TensorUpdate, scale: number): tf.Tensor =>
  scale === 1 ? tf.clone(gradient) : tf.mul(gradient, scale);

/** Replaces a tensor of the state by one that is computed from it, and returns the new one. */
export function replaceState(
  { state }: Pick<Update, 'state'>,
  name: string,
  next: (old: tf.Tensor) => tf.Tensor,
): tf.Tensor {
  const old = state[name]!;
  state[name] = tf.tidy(() => next(old));
  old.dispose();
  return state[name];
}
