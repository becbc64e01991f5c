import * as tf from '@tensorflow/tfjs-core';
import { TrainingError } from './errors';
import type { Optimizer, OptimizerStep, StoredOptimizerState } from './optimizer';
import type { Parameter } from './policy';
import { roundingKey, roundStochastically } from './stochastic-rounding';
import {
  asTensor,
  isTensor,
  loadStored,
  readSaved,
  type SavedTensor,
  savedBytes,
  savedTensor,
  type Values,
  writeTensor,
  zerosOf,
} from './values';

/** A parameter to update, with its gradient and its state. */
export interface Update {
  readonly parameter: Parameter;
  readonly gradient: Values;
  /** The values that the rule keeps for the parameter, by their names in files. */
  readonly state: Record<string, Values>;
  /** The key of the random numbers of this update, which round a bfloat16 value. */
  readonly roundingKey: number;
}

/** An update for tfjs operations. */
export interface TensorUpdate {
  readonly parameter: TensorParameter;
  readonly gradient: tf.Tensor;
  /** An update may replace the tensors; it disposes the old. */
  readonly state: Record<string, tf.Tensor>;
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

/** A tensor of a state: float32, or codes of 8 bits. */
export interface StateTensor {
  readonly shape: readonly number[];
  readonly type: 'F32' | 'U8';
}

/** A float32 tensor of a state. */
export const float32 = (shape: readonly number[]): StateTensor => ({ shape, type: 'F32' });

/** How an optimizer changes a parameter: the equations of AdamW, Lion, … */
export interface UpdateRule<S extends Scalars = Scalars> {
  /** The optimizer's name, in errors and to find the native implementation. */
  readonly name: string;
  /** The tensors that it keeps for a parameter, by their names in files: `<parameter>.<name>`. */
  state(parameter: Pick<Parameter, 'name' | 'shape' | 'whole'>): Readonly<Record<string, StateTensor>>;
  scalars(settings: StepSettings): S;
  /** The portable update, in tfjs operations. */
  update(update: TensorUpdate, scalars: S): void;
}

/** Where an optimizer's state is kept, and what runs the updates. */
export interface OptimizerKernel {
  /** Zeros for the state. */
  zeros(shape: readonly number[], type: StateTensor['type']): Values;
  /**
   * Updates parameters that share their scalars. Updates may wait until the parameters' values are read (`Parameter.updateLater`), if the
   * gradients are kept until then.
   */
  update<S extends Scalars>(rule: UpdateRule<S>, updates: readonly Update[], scalars: S): void;
  /** Makes a part of the updates that wait. */
  continueUpdate?(): void;
  /** Makes all updates that wait. */
  finish?(): void;
  /** Frees memory that it holds between updates. */
  dispose?(): void;
}

/** tfjs tensors and a rule's portable update, on any tfjs backend. Values outside of tfjs are copied for the update. */
export const portableOptimizer: OptimizerKernel = {
  zeros: zerosOf,
  update(rule, updates, scalars) {
    for (const update of updates) updateTensors(rule, update, scalars);
  },
};

function updateTensors<S extends Scalars>(
  rule: UpdateRule<S>,
  { parameter, gradient, state, roundingKey }: Update,
  scalars: S,
): void {
  const { name, shape, decay } = parameter;
  const values = parameter.value();
  const isRounded = !isTensor(values) && values.fileType === 'BF16';
  const [value, g] = [asTensor(values), asTensor(gradient)];
  const tensors = Object.fromEntries(Object.entries(state).map(([name, values]) => [name, asTensor(values).tensor]));
  const onTensors = {
    name,
    shape,
    decay,
    value: () => value.tensor,
    assign: (next: tf.Tensor) => parameter.assign(isRounded ? roundStochastically(next, roundingKey) : next),
  };
  rule.update({ parameter: onTensors, gradient: g.tensor, state: tensors }, scalars);
  value.dispose();
  g.dispose();
  for (const [name, values] of Object.entries(state)) {
    const next = tensors[name]!;
    if (isTensor(values)) state[name] = next;
    else {
      writeTensor(values, next);
      next.dispose();
    }
  }
}

export interface RuleOptions {
  /** λ, the weight decay of parameters with `decay`; 0 to 1. Default 0. */
  readonly weightDecay?: number;
  /** The implementation of the updates. Default: portable tfjs operations. */
  readonly kernel?: OptimizerKernel;
  /**
   * The seed of random numbers, an integer. They round the new value of a parameter that is held in bfloat16, up or down in proportion
   * to the distance, so that its mean is the value. They follow from seed, step, parameter and index. Default 0.
   */
  readonly roundingSeed?: number;
}

/** An optimizer that says how much memory its state takes. */
export interface RuleOptimizer extends Optimizer {
  /** Bytes of a parameter's state. */
  stateBytes(parameter: Pick<Parameter, 'name' | 'shape'>): number;
}

/**
 * The optimizer of a rule. It creates a parameter's state at the parameter's first gradient. A parameter without a gradient does not
 * change and does not decay.
 */
export function optimizerOf<S extends Scalars>(
  rule: UpdateRule<S>,
  { weightDecay = 0, kernel = portableOptimizer, roundingSeed = 0 }: RuleOptions,
): RuleOptimizer {
  const states = new Map<string, Record<string, Values>>();
  let ordered: readonly Parameter[] = []; // so that a state is saved in one order, also after a resume
  let step = 0;

  function stateOf(parameter: Parameter): Record<string, Values> {
    const known = states.get(parameter.name);
    if (known) return known;
    const tensors = Object.entries(rule.state(parameter));
    const state = Object.fromEntries(tensors.map(([name, { shape, type }]) => [name, kernel.zeros(shape, type)]));
    states.set(parameter.name, state);
    return state;
  }

  function dispose(): void {
    kernel.finish?.();
    for (const state of states.values()) for (const values of Object.values(state)) values.dispose();
    states.clear();
    kernel.dispose?.();
  }

  function beginStep({ parameters, learningRate, gradientScale }: OptimizerStep) {
    kernel.finish?.();
    step += 1;
    ordered = parameters;
    return (part: readonly Parameter[]) => {
      for (const decays of [true, false]) {
        const updates = part.flatMap((parameter) => {
          const gradient = parameter.decay === decays ? parameter.gradient() : null;
          if (!gradient) return [];
          const key = roundingKey(roundingSeed, step, parameter.name);
          return [{ parameter, gradient, state: stateOf(parameter), roundingKey: key }];
        });
        if (updates.length === 0) continue;
        const settings = { step, learningRate, gradientScale, weightDecay: decays ? weightDecay : 0 };
        kernel.update(rule, updates, rule.scalars(settings));
      }
    };
  }

  return {
    step: (input) => beginStep(input)(input.parameters),
    beginStep,
    ...(kernel.continueUpdate && { continueUpdate: kernel.continueUpdate }),
    state() {
      kernel.finish?.();
      return { step, tensors: savedTensors(ordered, states) };
    },
    async load(stored, parameters) {
      dispose();
      ordered = parameters;
      for (const [name, state] of await readState(rule, kernel, stored, parameters)) states.set(name, state);
      step = stored.step;
    },
    dispose,
    stateBytes: (parameter) =>
      Object.values(rule.state(parameter)).reduce((bytes, tensor) => bytes + savedBytes(tensor), 0),
  };
}

function* savedTensors(
  parameters: readonly Parameter[],
  states: ReadonlyMap<string, Record<string, Values>>,
): Generator<SavedTensor> {
  for (const parameter of parameters) {
    const state = Object.entries(states.get(parameter.name) ?? {});
    for (const [name, values] of state) yield savedTensor(`${parameter.name}.${name}`, values);
  }
}

/** Reads a stored state. Where it is not that of the rule and the parameters, all values read so far are disposed. */
async function readState(
  rule: UpdateRule,
  kernel: OptimizerKernel,
  { tensors }: StoredOptimizerState,
  parameters: readonly Parameter[],
): Promise<Map<string, Record<string, Values>>> {
  const expected = new Map<string, StateTensor>();
  for (const parameter of parameters) {
    for (const [name, tensor] of Object.entries(rule.state(parameter))) {
      expected.set(`${parameter.name}.${name}`, tensor);
    }
  }
  const read = new Map<string, Values>();
  const problem = (message: string) =>
    new TrainingError(
      `state of ${rule.name}: ${message}. Resume with the model and the optimizer that it was saved with.`,
    );
  try {
    for await (const saved of tensors) {
      const { name } = saved;
      const tensor = expected.get(name);
      if (!tensor || read.has(name)) {
        const known = [...expected.keys()];
        throw problem(
          `expected ${known.length === 0 ? 'no tensors' : `tensors like "${known[0]}", each once`}, found "${name}"`,
        );
      }
      const { shape, type } = tensor;
      if (String(saved.shape) !== String(shape)) {
        throw problem(`"${name}": expected shape [${shape}], found [${saved.shape}]`);
      }
      if (saved.type !== type) throw problem(`"${name}": expected type ${type}, found ${saved.type}`);
      const values = kernel.zeros(shape, type);
      read.set(name, values);
      if (isTensor(values)) {
        values.dispose();
        read.set(name, await readSaved(saved));
      } else await loadStored(values, saved);
    }
    const states = new Map<string, Record<string, Values>>();
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
    for (const values of read.values()) values.dispose();
    throw error;
  }
}

/** A gradient times the step's scale: a tensor that the caller disposes. */
export const scaledGradient = ({ gradient }: TensorUpdate, scale: number): tf.Tensor =>
  scale === 1 ? tf.clone(gradient) : tf.mul(gradient, scale);

/** Replaces a tensor of the state by one that is computed from it, and returns the new one. */
export function replaceState(
  { state }: Pick<TensorUpdate, 'state'>,
  name: string,
  next: (old: tf.Tensor) => tf.Tensor,
): tf.Tensor {
  const old = state[name]!;
  state[name] = tf.tidy(() => next(old));
  old.dispose();
  return state[name];
}
