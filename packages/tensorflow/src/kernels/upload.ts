/** The part of tfjs-node's TensorFlow binding that makes tensors. */
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

/** Tensors with more values (1 MB) are uploaded as before, which is faster for them. */
const MAX_VALUES = 1 << 18;

/**
 * Uploads small float32 tensors to a GPU without a synchronization. TensorFlow waits for all queued GPU work before it makes a float32
 * tensor; int32 tensors stay in CPU memory. So the values are passed as int32 bits, and an operation queues their copy.
 *
 * @param backend tfjs-node's backend; its `binding` is replaced
 */
export function uploadWithoutSync(backend: { binding: object }): void {
  const binding = backend.binding as Binding;
  const createTensor: Binding['createTensor'] = (shape, dtype, values) => {
    if (dtype !== binding.TF_FLOAT || !(values instanceof Float32Array) || values.length > MAX_VALUES) {
      return binding.createTensor(shape, dtype, values);
    }
    const bits = new Int32Array(values.buffer, values.byteOffset, values.length);
    const onCpu = binding.createTensor(shape, binding.TF_INT32, bits);
    try {
      return binding.executeOp('WpoFloats', [], [onCpu], 1)[0]!.id;
    } finally {
      binding.deleteTensor(onCpu);
    }
  };
  backend.binding = Object.create(binding, { createTensor: { value: createTensor } });
}
