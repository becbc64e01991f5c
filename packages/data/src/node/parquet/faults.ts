/** A Parquet file that breaks its format. The message completes the sentence "found …". */
export class Damaged extends Error {
  override readonly name = 'Damaged';
}

/** A correct Parquet file that uses what this reader lacks, or needs too much memory. The message completes "found …". */
export class Unsupported extends Error {
  override readonly name = 'Unsupported';
}
