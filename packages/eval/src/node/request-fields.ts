import { printable } from '@wpo/internal/printable';
import { EvaluationError } from '../errors';

/** Values for fields of a request's body. Null removes a field. */
export type RequestFields = Readonly<Record<string, unknown>>;

/** Fields that the client needs as it sets them. */
const RESERVED = ['model', 'messages', 'n', 'stream'];

/** Checks the fields that a user adds to requests. @throws {EvaluationError} for a field that cannot be set */
export function requestFields(given: RequestFields = {}): RequestFields {
  const reserved = Object.keys(given).find((name) => RESERVED.includes(name));
  if (reserved === undefined) return given;
  const hint = reserved === 'model' ? 'Give the model’s name as such.' : 'Remove it.';
  throw new EvaluationError(
    `request: ${printable(reserved, 60)}: expected a field other than ${RESERVED.join(', ')}, found ${reserved}. ${hint}`,
  );
}

/** What is sent instead of a field that a server does not accept; undefined leaves it out. */
const INSTEAD: Readonly<Record<string, string | undefined>> = {
  max_tokens: 'max_completion_tokens',
  temperature: undefined,
  top_p: undefined,
  seed: undefined,
};

/** Adapts the bodies of requests to what a server accepts. */
export interface RequestAdapter {
  /** The body to send. */
  apply(body: object): Readonly<Record<string, unknown>>;
  /** Adapts all further bodies. Returns false if the field of this body cannot be done without. */
  leaveOut(field: string, body: Readonly<Record<string, unknown>>): boolean;
}

/** @param fields are sent as they are: the user set them */
export function adapter(fields: RequestFields, onNotice: (text: string) => void): RequestAdapter {
  const refused = new Set<string>();
  return {
    apply(body) {
      const adapted = Object.entries(body).flatMap(([name, value]) => {
        if (!refused.has(name)) return [[name, value] as const];
        const instead = INSTEAD[name];
        return instead === undefined || value === undefined ? [] : [[instead, value] as const];
      });
      const all = Object.entries({ ...Object.fromEntries(adapted), ...fields });
      return Object.fromEntries(all.filter(([, value]) => value !== null && value !== undefined));
    },
    leaveOut(field, body) {
      if (!Object.hasOwn(INSTEAD, field) || Object.hasOwn(fields, field) || body[field] === undefined) return false;
      refused.add(field);
      const instead = INSTEAD[field];
      onNotice(
        instead === undefined
          ? `the server does not accept ${field}. It is left out, so the server’s own value applies.`
          : `the server does not accept ${field}. ${instead} is sent instead.`,
      );
      return true;
    },
  };
}
