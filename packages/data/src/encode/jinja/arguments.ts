import { type Arguments, Callable, fail, type Value } from './values';

/**
 * The arguments of a call, in the order of the function's parameters; undefined for those not passed.
 *
 * @param parameters the names of the parameters; `required` of them must be passed
 */
export function bind(
  name: string,
  { positional, keywords }: Arguments,
  parameters: readonly string[],
  required = 0,
): (Value | undefined)[] {
  if (positional.length > parameters.length) {
    fail(`${name}() takes at most ${parameters.length} arguments (${positional.length} given)`);
  }
  const bound: (Value | undefined)[] = parameters.map((_, i) => positional[i]);
  for (const [keyword, value] of keywords) {
    const i = parameters.indexOf(keyword);
    if (i === -1) fail(`${name}() got an unexpected keyword argument '${keyword}'`);
    if (bound[i] !== undefined) fail(`${name}() got multiple values for argument '${keyword}'`);
    bound[i] = value;
  }
  const missing = parameters.slice(0, required).find((_, i) => bound[i] === undefined);
  if (missing !== undefined) fail(`${name}() missing required argument '${missing}'`);
  return bound;
}

/** A function of the environment or a method, with the parameters' names. */
export const builtin = (
  name: string,
  parameters: readonly string[],
  required: number,
  body: (...args: (Value | undefined)[]) => Value,
  type: 'function' | 'builtin_function_or_method' = 'builtin_function_or_method',
): Callable => new Callable(type, (args) => body(...bind(name, args, parameters, required)));
