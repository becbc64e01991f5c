/** The part of tfjs-node's binding to TensorFlow that makes tensors. */
interface Binding {
  readonly TF_FLOAT: number;
  readonly TF_INT32: number;
  createTensor(shape: number[], dtype: number, values: unknown): number;
  executeOp(
    name: string,
    attributes: readonly never[],
    inputs: readonly number[],
    outputs: number,
  ): readonly { id: number }[];
  deleteTensor(id: number): void;
}

/** Values up to which it pays: 1 MB. */
const SMALL = 1 << 18;

/**
 * Lets small float tensors go to a GPU among the work, where TensorFlow waits for all that was asked of the GPU before it
 * makes one: as int32 bits, which stay with the processor, and an operation that makes floats of them.
 *
 * @param backend tfjs-node's, whose binding is replaced by one that does so
 */
export function uploadAmongWork(backend: { binding: object }): void {
  const binding = backend.binding as Binding;
  const createTensor: Binding['createTensor'] = (shape, dtype, values) => {
    if (dtype !== binding.TF_FLOAT || !(values instanceof Float32Array) || values.length > SMALL) {
      return binding.createTensor(shape, dtype, values);
    }
    const bits = new Int32Array(values.buffer, values.byteOffset, values.length);
    const there = binding.createTensor(shape, binding.TF_INT32, bits);
    const [made] = binding.executeOp('WpoFloats', [], [there], 1);
    binding.deleteTensor(there);
    return made!.id;
  };
  backend.binding = Object.create(binding, { createTensor: { value: createTensor } });
}
