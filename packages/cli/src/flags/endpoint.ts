import type { Command } from 'commander';
import { number, whole } from './values';

/** What the flags of `withEndpointFlags` give. */
export interface EndpointFlags {
  /** Requests under way at once. */
  readonly concurrency: number;
  /** Seconds for one request. */
  readonly timeout: number;
  readonly retries: number;
}

/** The flags of a command that asks a server. */
export const withEndpointFlags = (command: Command): Command =>
  command
    .option('--concurrency <requests>', 'requests to a server under way at once', whole(1), 32)
    .option(
      '--timeout <seconds>',
      'for one request to a server',
      number('above 0', (n) => n > 0),
      600,
    )
    .option('--retries <count>', 'how often a request that failed is tried again', whole(0), 6);

/** Where keys come from, for a command's help. */
export const KEY_HELP = '\nA server’s key is taken from WPO_API_KEY, or else OPENAI_API_KEY, of the environment.\n';
