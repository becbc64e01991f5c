import { existsSync } from 'node:fs';
import { isDataFile } from '../rows/splits';

/** What a name says of a repository on the Hugging Face hub. */
export interface HubName {
  readonly type: 'model' | 'dataset';
  /** `org/name`. */
  readonly repo: string;
  /** A branch, a tag or a commit. */
  readonly revision: string;
  /** A file, folder or glob in the repository; empty for all of it. */
  readonly path: string;
}

const NAME = /^hf:\/\/(datasets\/)?([\w.-]+\/[\w.-]+)(?:@(refs\/(?:convert|pr)\/[^/]+|[^/]+))?(?:\/(.*))?$/;
const BARE = /^\w[\w.-]*\/\w[\w.-]*$/;

/** A name as it is written in full: `hf://datasets/org/name@revision/path`, `main` left out. */
export const hubNameText = ({ type, repo, revision, path }: HubName) =>
  `hf://${type === 'dataset' ? 'datasets/' : ''}${repo}` +
  `${revision === 'main' ? '' : `@${/^refs\/(convert|pr)\/[^/]+$/.test(revision) ? revision : encodeURIComponent(revision)}`}` +
  `${path === '' ? '' : `/${path}`}`;

/**
 * The data set that a source names: `hf://datasets/org/name[@revision][/path]`, or `org/name` where no such file or
 * folder is here. Undefined for a path.
 *
 * @throws {Error} where the name is malformed, or a model's
 */
export const dataSetName = (source: string): HubName | undefined =>
  source.startsWith('hf://') ? parsed(source, 'dataset') : bare(source, 'dataset');

/** As `dataSetName`, of a model: `hf://org/name[@revision]`, or `org/name` where no such folder is here. */
export const modelName = (source: string): HubName | undefined =>
  source.startsWith('hf://') ? parsed(source, 'model') : bare(source, 'model');

function bare(source: string, type: HubName['type']): HubName | undefined {
  if (!BARE.test(source) || isDataFile(source) || existsSync(source)) return undefined;
  return { type, repo: source, revision: 'main', path: '' };
}

function parsed(source: string, wanted: HubName['type']): HubName {
  const [matches, dataSets, repo = '', revision = 'main', path = ''] = NAME.exec(source) ?? [];
  const type = dataSets === undefined ? 'model' : 'dataset';
  const segments = `${repo}/${path}`.split('/');
  if (matches === undefined || type !== wanted || segments.some((segment) => /^\.{1,2}$/.test(segment))) {
    const form = wanted === 'model' ? 'hf://org/name' : 'hf://datasets/org/name[@revision][/path]';
    throw new Error(`${source}: wanted the name of a ${wanted === 'model' ? 'model' : 'data set'}, ${form}.`);
  }
  return { type, repo, revision: decodeURIComponent(revision), path: path.replace(/\/$/, '') };
}
