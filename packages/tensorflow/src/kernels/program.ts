import type * as tf from '@tensorflow/tfjs-core';
import type { Value } from '@wpo/gemma';
import { bitsOf, operationNumber, runOver, withInts } from './native';

// The instructions of native/program.h.
const [TENSOR, INTS, RUN, DROP] = [0, 1, 2, 3];

/** A value that the program will have when it runs. */
class Later implements Value {
  constructor(
    private readonly program: Program,
    readonly number: number,
    readonly shape: readonly number[],
  ) {
    program.hold(number);
  }
  clone(): Later {
    return new Later(this.program, this.number, this.shape);
  }
  dispose(): void {
    this.program.release(this.number);
  }
}

export type Operand = Later | tf.Tensor;

/** Operations noted down one after another, to be run by one call of TensorFlow. */
export class Program {
  private readonly code: number[] = [];
  private readonly tensors = new Map<tf.Tensor, number>();
  private readonly handles: number[] = []; // on each value

  /** Notes an operation whose first output is of this shape; those beyond it are not to be had. */
  run(name: string, inputs: readonly (Operand | number)[], shape: readonly number[], outputs = 1): Later {
    const numbers = inputs.map((input) => (typeof input === 'number' ? input : this.numberOf(input)));
    this.code.push(RUN, operationNumber(name), ...numbers);
    const value = new Later(this, this.add(), shape);
    for (let i = 1; i < outputs; i++) this.code.push(DROP, this.add());
    return value;
  }

  /** The number of a value of these int32 values. */
  ints(values: ArrayLike<number>): number {
    this.code.push(INTS, 1, values.length, ...Array.from(values));
    return this.add();
  }

  /** The number of a value that tells an operation these numbers. */
  numbers(...values: number[]): number {
    return this.ints(bitsOf(values));
  }

  /** Runs the operations noted: what the last of them makes. The tensors they read must still be there. */
  result(): tf.Tensor {
    return withInts(this.code, (code) => runOver('WpoProgram', [code], [...this.tensors.keys()]));
  }

  hold(value: number): void {
    this.handles[value]!++;
  }

  release(value: number): void {
    if (--this.handles[value]! === 0) this.code.push(DROP, value);
  }

  private numberOf(input: Operand): number {
    if (input instanceof Later) return input.number;
    const known = this.tensors.get(input);
    if (known !== undefined) return known;
    this.code.push(TENSOR);
    const number = this.add();
    this.tensors.set(input, number);
    return number;
  }

  private add(): number {
    return this.handles.push(0) - 1;
  }
}
