/** How servers are asked. */
export interface EndpointFlags {
  readonly concurrency: number;
  /** Seconds for one request. */
  readonly timeout: number;
  readonly retries: number;
}
