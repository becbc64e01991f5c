import type { FactsAnswer } from './ours/worker';

/** One result: ours, and those of the peers. */
export interface Row {
  /** The measure and its variant, such as `step, pairs.jsonl`. */
  readonly of: string;
  /** The quantity and its unit, such as `s per pair`. */
  readonly what: string;
  /** Whether less or more is better; `given`: neither. */
  readonly better: 'less' | 'more' | 'given';
  readonly ours: number | null;
  readonly peers: readonly PeerValue[];
}

export interface PeerValue {
  readonly name: string;
  readonly value: number;
  /** How many times better ours is; above 1, ours is ahead. */
  readonly ratio: number;
}

export interface Machine extends FactsAnswer {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGb: number;
  readonly node: string;
}

export interface Report {
  readonly machine: Machine;
  /** Versions of the peer's packages; absent where no peer was measured. */
  readonly peer?: Readonly<Record<string, string>>;
  readonly rows: readonly Row[];
  /** Lines below the table: what was wrong, or not run. */
  readonly notes: readonly string[];
  /** Every turn. */
  readonly turns: readonly object[];
}

/** Makes a row with its ratios; peers without a value are left out. */
export function row(
  of: string,
  what: string,
  better: Row['better'],
  ours: number | null,
  peers: Readonly<Record<string, number | null | undefined>> = {},
): Row {
  const values = Object.entries(peers).flatMap(([name, value]) => {
    if (value === null || value === undefined) return [];
    const ratio = ours === null ? Number.NaN : better === 'more' ? ours / value : value / ours;
    return [{ name, value, ratio }];
  });
  return { of, what, better, ours, peers: values };
}

/** Formats the report as a table with one line per row. */
export function formatReport({ machine, peer, rows, notes }: Report): string {
  const names = [...new Set(rows.flatMap(({ peers }) => peers.map(({ name }) => name)))];
  const filled = rows.filter(({ ours, peers }) => ours !== null || peers.length > 0);
  const header = ['', 'ours', ...names.flatMap((name) => [name, 'ratio'])];
  const lines = filled.map(({ of, what, better, ours, peers }) => [
    `${of}: ${what}`,
    number(ours),
    ...names.flatMap((name) => {
      const found = peers.find((peer) => peer.name === name);
      return found ? [number(found.value), better === 'given' ? '' : `${number(found.ratio)}x`] : ['', ''];
    }),
  ]);
  const language = machine.device === 'gpu' ? 'CUDA' : 'C++';
  const kernels = machine.native ? `native kernels in ${language}` : 'portable kernels';
  const facts = [
    `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGb} GB; ${machine.device === 'gpu' ? 'on its GPU; ' : ''}` +
      `Node ${machine.node}, TensorFlow ${machine.tensorflow}, ${kernels}`,
    ...(peer
      ? [
          `peer: ${Object.entries(peer)
            .map((entry) => entry.join(' '))
            .join(', ')}`,
        ]
      : []),
  ];
  return `${[table([header, ...lines]), '', ...facts, ...(notes.length > 0 ? ['', ...notes] : [])].join('\n')}\n`;
}

/** Three significant digits, or all digits before the point. */
function number(value: number | null): string {
  if (value === null) return '';
  if (!Number.isFinite(value)) return '-';
  if (Math.abs(value) >= 100) return value.toFixed(0);
  return value.toPrecision(3);
}

function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((cells) => cells[i]!.length)));
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
      .join('  ')
      .trimEnd();
  return rows.map(line).join('\n');
}
