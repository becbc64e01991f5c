const LEVELS = '▁▂▃▄▅▆▇█';

/** Values as a line of at most `width` characters: the mean of each part of the values, from the least to the greatest mean. */
export function sparkline(values: readonly number[], width: number): string {
  const parts = Math.min(width, values.length);
  const means = Array.from({ length: parts }, (_, part) => {
    const [start, end] = [part, part + 1].map((border) => Math.round((border * values.length) / parts));
    return mean(values.slice(start, end));
  });
  const [low, high] = [Math.min(...means), Math.max(...means)];
  const levelOf = (value: number) => (high > low ? Math.round((7 * (value - low)) / (high - low)) : 3);
  return means.map((value) => LEVELS[levelOf(value)]).join('');
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** The course of a number over a run of any length, in at most `LIMIT` values: means of as many steps each. */
export class History {
  private readonly means: number[] = [];
  /** Values that are in no mean yet. */
  private readonly last: number[] = [];
  private perMean = 1;

  /** Adds a value. One that is not finite is left out. */
  add(value: number): void {
    if (!Number.isFinite(value)) return;
    this.last.push(value);
    if (this.last.length < this.perMean) return;
    this.means.push(mean(this.last.splice(0)));
    if (this.means.length < LIMIT) return;
    for (let i = 0; i < LIMIT / 2; i++) this.means[i] = mean(this.means.slice(2 * i, 2 * i + 2));
    this.means.length = LIMIT / 2;
    this.perMean *= 2;
  }

  values(): readonly number[] {
    return this.last.length === 0 ? this.means : [...this.means, mean(this.last)];
  }
}

const LIMIT = 128;
