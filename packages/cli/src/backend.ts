import { fromInput } from './errors';

/**
 * Puts TensorFlow under tfjs. Not a plain import, since `wpo --help` and a wrong config need no TensorFlow.
 *
 * @throws {UserError} saying how to install it, where it is not there
 */
export const loadBackend = (): Promise<unknown> => fromInput(() => import('@wpo/tensorflow'));
