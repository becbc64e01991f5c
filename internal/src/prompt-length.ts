/** The default limit of a prompt that is cut: 1,800 of 2,048 tokens, as in the WPO authors' code, and this share of fewer. */
export const defaultMaxPromptLength = (maxLength: number): number =>
  Math.min(1800, Math.floor((maxLength * 1800) / 2048));
