// @ts-check
import { existsSync, mkdirSync } from 'node:fs';
import { dirname, resolve } from 'node:path';

/**
 * Creates a folder and its parents, if they do not exist. Node's recursive `mkdir` never ends on file systems that report a
 * parent as missing that exists, such as /proc.
 * @param {string} path
 */
export function makeFolders(path) {
  if (existsSync(path)) return;
  makeFolders(dirname(resolve(path)));
  try {
    mkdirSync(path);
  } catch (error) {
    if (!existsSync(path)) throw error; // another process may have created it
  }
}
