import { setUp } from '../scripts/setup.mjs';

/**
 * Builds what has changed since it was last built, types included: a test file that asked for less could be running while
 * another one's build replaces the files.
 */
export const built = () => setUp({ quiet: true, declarations: true });

/** Milliseconds that a build of everything, or a first download, may take on a slow machine. */
export const LONG = 600_000;
