import * as v from 'valibot';

// Kinds of values of a run file; each is refused with what was wanted.

export const text = (wanted: string) => v.pipe(v.string(wanted), v.nonEmpty(wanted));
export const flag = v.boolean('true or false');
export const oneOf = <const T extends readonly string[]>(names: T) => v.picklist(names, names.join(', '));

export const whole = (least: number) => {
  const wanted = `a whole number, ${least} or more`;
  return v.pipe(v.number(wanted), v.safeInteger(wanted), v.minValue(least, wanted));
};
export const number = () => {
  const wanted = 'a number';
  return v.pipe(v.number(wanted), v.finite(wanted));
};
export const above = (low: number) => {
  const wanted = `a number above ${low}`;
  return v.pipe(v.number(wanted), v.finite(wanted), v.gtValue(low, wanted));
};
export const within = (low: number, high: number) => {
  const wanted = `a number from ${low} to ${high}`;
  return v.pipe(v.number(wanted), v.minValue(low, wanted), v.maxValue(high, wanted));
};
export const atLeast = (low: number) => {
  const wanted = `a number, ${low} or more`;
  return v.pipe(v.number(wanted), v.finite(wanted), v.minValue(low, wanted));
};
export const below1 = () => {
  const wanted = 'a number from 0 to below 1';
  return v.pipe(v.number(wanted), v.minValue(0, wanted), v.ltValue(1, wanted));
};
export const shareOrCount = () => {
  const wanted = 'a share between 0 and 1, or a whole number of pairs';
  return v.pipe(
    v.number(wanted),
    v.check((found) => found > 0 && (found < 1 || Number.isSafeInteger(found)), wanted),
  );
};

// A key of a run file: whether it is needed, its default, and what it means.

export const needed = <S extends v.GenericSchema>(schema: S, meaning: string) => v.pipe(schema, v.description(meaning));
export const defaultsTo = <S extends v.GenericSchema, const D extends v.InferInput<S>>(
  schema: S,
  value: D,
  meaning: string,
) => v.pipe(v.optional(schema, value), v.description(meaning));
export const maybe = <S extends v.GenericSchema>(schema: S, meaning: string) =>
  v.pipe(v.optional(schema), v.description(meaning));
