/** What asks a loop to stop: an `AbortSignal`, or anything that says `aborted` in time. */
export interface StopSignal {
  readonly aborted: boolean;
}
