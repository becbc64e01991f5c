// TensorFlow's allocator of large tensors, BFC ("best fit with coalescing", tensorflow/tsl framework/bfc_allocator.cc): it takes
// regions of memory that double in size, divides them into chunks, and never returns them. Freed chunks are joined with free neighbours.
// Simulated here, because what it takes is more than what tensors hold: no free chunk may be large enough for the next tensor.

interface Chunk {
  readonly region: Region;
  readonly offset: number;
  bytes: number;
  isFree: boolean;
  previous: Chunk | null;
  next: Chunk | null;
}

interface Region {
  readonly bytes: number;
  /** Bytes from its start to the end of the highest tensor so far. */
  touched: number;
}

/** Memory of a tensor. */
export type Allocation = Chunk | { readonly small: number };

const ALIGNMENT = 256;
/** On a CPU, smaller tensors are allocated by malloc. */
const SMALL = 2 ** 18;
const FIRST_REGION = 2 ** 21;
/** A chunk is divided if the rest has this many bytes, or is as large as the tensor. */
const MAX_WASTE = 2 ** 27;

export class TensorFlowAllocator {
  private readonly free_ = new Set<Chunk>();
  private readonly regions: Region[] = [];
  private nextRegion = FIRST_REGION;
  private small = 0;
  private mostSmall = 0;

  allocate(bytes: number): Allocation {
    if (bytes < SMALL) {
      this.small += bytes;
      this.mostSmall = Math.max(this.mostSmall, this.small);
      return { small: bytes };
    }
    const rounded = Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
    const chunk = this.bestFit(rounded) ?? this.extend(rounded);
    this.free_.delete(chunk);
    chunk.isFree = false;
    if (chunk.bytes >= 2 * rounded || chunk.bytes - rounded >= MAX_WASTE) this.split(chunk, rounded);
    chunk.region.touched = Math.max(chunk.region.touched, chunk.offset + bytes);
    return chunk;
  }

  free(allocation: Allocation): void {
    if ('small' in allocation) {
      this.small -= allocation.small;
      return;
    }
    let chunk = allocation;
    chunk.isFree = true;
    if (chunk.next?.isFree) this.join(chunk, chunk.next);
    if (chunk.previous?.isFree) {
      chunk = chunk.previous;
      this.join(chunk, chunk.next!);
    }
    this.free_.add(chunk);
  }

  /**
   * Bytes of the parts of regions that tensors have used. The rest of a region takes no memory of the host, and on a GPU TensorFlow
   * makes a region smaller if there is no room for it.
   */
  get usedBytes(): number {
    return this.regions.reduce((sum, { touched }) => sum + touched, 0) + this.mostSmall;
  }

  private bestFit(bytes: number): Chunk | undefined {
    let best: Chunk | undefined;
    for (const chunk of this.free_) if (chunk.bytes >= bytes && chunk.bytes < (best?.bytes ?? Infinity)) best = chunk;
    return best;
  }

  private extend(bytes: number): Chunk {
    const fits = this.nextRegion >= bytes;
    while (this.nextRegion < bytes) this.nextRegion *= 2;
    const region = { bytes: this.nextRegion, touched: 0 };
    this.regions.push(region);
    if (fits) this.nextRegion *= 2;
    return { region, offset: 0, bytes: region.bytes, isFree: true, previous: null, next: null };
  }

  private split(chunk: Chunk, bytes: number): void {
    const { region, offset, next } = chunk;
    const rest = { region, offset: offset + bytes, bytes: chunk.bytes - bytes, isFree: true, previous: chunk, next };
    if (next) next.previous = rest;
    chunk.next = rest;
    chunk.bytes = bytes;
    this.free_.add(rest);
  }

  private join(chunk: Chunk, next: Chunk): void {
    this.free_.delete(next);
    chunk.bytes += next.bytes;
    chunk.next = next.next;
    if (next.next) next.next.previous = chunk;
  }
}
