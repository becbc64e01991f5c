import type { FactsAnswer } from './ours/facts';

/** One figure of ours, and the peer's beside it. */
export interface Row {
  /** What was run, e.g. `step, pairs.jsonl`. */
  readonly of: string;
  readonly what: string;
  /** Which way is better; `given`: neither. */
  readonly better: 'less' | 'more' | 'given';
  readonly ours: number | null;
  readonly peers: readonly PeerValue[];
}

export interface PeerValue {
  readonly name: string;
  readonly value: number;
  /** How many times better ours is: above 1, ours is ahead. */
  readonly ratio: number;
}

export interface Machine extends FactsAnswer {
  readonly processor: string;
  readonly cores: number;
  readonly memoryGb: number;
  readonly node: string;
}

export interface Report {
  readonly machine: Machine;
  /** The peer's versions; absent where none was run. */
  readonly peer?: Readonly<Record<string, string>>;
  readonly rows: readonly Row[];
  /** All that was measured, turn by turn. */
  readonly turns: readonly object[];
}

/** A row, with the ratios worked out; peers without a value are left out. */
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

/** The report as text: a table, a row each figure. */
export function formatReport({ machine, peer, rows }: Report): string {
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
  const kernels = machine.fused ? `fused operations in ${language}` : "TensorFlow's own operations";
  const facts = [
    `${machine.processor}, ${machine.cores} cores, ${machine.memoryGb} GB; ${machine.device === 'gpu' ? 'on its GPU; ' : ''}` +
      `Node ${machine.node}, TensorFlow ${machine.tensorflow}, ${kernels}`,
    ...(peer
      ? [
          `peer: ${Object.entries(peer)
            .map((entry) => entry.join(' '))
            .join(', ')}`,
        ]
      : []),
  ];
  return `${table([header, ...lines])}\n\n${facts.join('\n')}\n`;
}

/** Three digits, or all before the point. */
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
