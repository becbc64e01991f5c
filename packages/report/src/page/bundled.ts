/** The script and style of the page. */
export interface PageBundle {
  readonly script: string;
  /** For a Content-Security-Policy, e.g. `sha256-…`. */
  readonly scriptHash: string;
  readonly style: string;
}

/** Undefined in the sources: `bundle.mjs` gives the value when the package is built or tested. */
export const bundle = undefined as PageBundle | undefined;
