/** Numbers that are added one by one: eight bytes each, where a list of objects would take ten times that. */
export class Numbers {
  private values = new Float64Array(256);
  private count = 0;

  get length(): number {
    return this.count;
  }

  add(value: number): void {
    if (this.count === this.values.length) {
      const larger = new Float64Array(2 * this.count);
      larger.set(this.values);
      this.values = larger;
    }
    this.values[this.count++] = value;
  }

  /** @param i from 0 to `length - 1` */
  at(i: number): number {
    return this.values[i]!;
  }

  /** All of them, to be read before more are added. */
  view(): Float64Array {
    return this.values.subarray(0, this.count);
  }
}
