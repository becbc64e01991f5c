import * as tf from '@tensorflow/tfjs-core';
import type { Value } from '@wpo/gemma';
import { bitsOf, hold, letGo, operationNumber, runProgram } from './native';

// The instructions of native/program.h.
const [TENSOR, INTS, RUN, DROP, GIVE] = [0, 1, 2, 3, 4];

/** Values up to which operations are put off, 64 MB: to wait for more would cost memory, and win nothing. */
const MOST = 1 << 24;

/** What an operation is given: values, whole numbers, or numbers. */
export type Operand = Value | { readonly ints: ArrayLike<number> } | { readonly numbers: readonly number[] };

/** What an operation makes: a number in the program until that has run, then a tensor. */
interface Made {
  readonly number: number;
  tensor: tf.Tensor | null;
  handles: number;
}

/** A handle on what an operation makes. */
class Later implements Value {
  private open = true;
  constructor(
    private readonly program: Program,
    readonly made: Made,
    readonly shape: readonly number[],
  ) {
    made.handles++;
  }
  clone(): Later {
    return new Later(this.program, this.made, this.shape);
  }
  dispose(): void {
    if (this.open) this.program.release(this.made);
    this.open = false;
  }
}

function tensorOf({ made: { tensor } }: Later): tf.Tensor {
  if (!tensor) throw new Error('an operation failed before, and so there is no value');
  return tensor;
}

const sizeOf = (shape: readonly number[]) => shape.reduce((size, n) => size * n, 1);

/**
 * Operations, noted down as they are called and run as one by a call of TensorFlow, which costs more than most of them do:
 * when a tensor is asked for, or when what is noted makes as much as is worth to put off.
 */
export class Program {
  private code: number[] = [];
  private readonly inputs = new Map<tf.Tensor, number>(); // each tensor's number
  private readonly waiting = new Set<Made>();
  private count = 0; // of values
  private size = 0; // of what operations make, in values

  /** Notes an operation that makes values of these shapes. */
  run(name: string, inputs: readonly Operand[], ...shapes: readonly (readonly number[])[]): Later[] {
    const numbers = inputs.map((input) => this.numberOf(input));
    this.code.push(RUN, operationNumber(name), ...numbers);
    const values = shapes.map((shape) => {
      this.code.push(shape.length, ...shape);
      const one = { number: this.count++, tensor: null, handles: 0 };
      this.waiting.add(one);
      this.size += sizeOf(shape);
      return new Later(this, one, shape);
    });
    if (this.size > MOST) this.flush();
    return values;
  }

  /** Notes an operation that changes its first input in place; the others, mostly freed after, stay till it has run. */
  change(name: string, inputs: readonly Operand[]): void {
    for (const input of inputs.slice(1)) if ('shape' in input) this.size += sizeOf(input.shape);
    this.run(name, inputs, [])[0]!.dispose();
  }

  /** The tensor of a value, which stays the value's, with all that was noted done. */
  materialize(value: Value): tf.Tensor {
    if (this.code.length > 0) this.flush();
    if (!(value instanceof Later)) return value as tf.Tensor;
    return tensorOf(value);
  }

  /** The tensor of a value that has no other handle, for the caller to free. */
  take(value: Value): tf.Tensor {
    const tensor = this.materialize(value);
    if (value instanceof Later) value.made.tensor = null;
    return tensor;
  }

  release(made: Made): void {
    if (--made.handles > 0) return;
    if (this.waiting.delete(made)) this.code.push(DROP, made.number);
    made.tensor?.dispose();
  }

  private flush(): void {
    const given = [...this.waiting];
    const inputs = [...this.inputs.keys()];
    const { code } = this;
    for (const { number } of given) code.push(GIVE, number);
    this.code = [];
    this.inputs.clear();
    this.waiting.clear();
    this.count = this.size = 0;
    try {
      const tensors = runProgram(code, inputs, given.length);
      for (const [i, one] of given.entries()) one.tensor = tf.keep(tensors[i]!); // a tidy that happens to run it owns none
    } finally {
      inputs.forEach(letGo);
    }
  }

  private numberOf(input: Operand): number {
    if ('ints' in input) return this.ints(input.ints);
    if ('numbers' in input) return this.ints(bitsOf(input.numbers));
    if (input instanceof Later && this.waiting.has(input.made)) return input.made.number;
    const tensor = input instanceof Later ? tensorOf(input) : (input as tf.Tensor);
    const known = this.inputs.get(tensor);
    if (known !== undefined) return known;
    this.code.push(TENSOR);
    const number = this.count++;
    this.inputs.set(tensor, number);
    hold(tensor); // whoever owns it may free it before
    return number;
  }

  private ints(values: ArrayLike<number>): number {
    this.code.push(INTS, 1, values.length);
    for (let i = 0; i < values.length; i++) this.code.push(values[i]!);
    return this.count++;
  }
}
