/** The hint for a path that does not exist because it has a ~ in it; undefined for any other path. */
export const homeHint = (path: string): string | undefined =>
  /(^|[/\\])~([/\\]|$)/.test(path)
    ? 'Write the path of the home folder instead of ~, which only a shell replaces.'
    : undefined;
