import { parse, tokenize } from '@huggingface/jinja';

/** The syntax tree that @huggingface/jinja 0.5.11 makes of a template (its src/ast.ts, whose types it does not export). */
export type Node = Statement | Expression;

export type Statement =
  | { readonly type: 'Program'; readonly body: readonly Node[] }
  | {
      readonly type: 'If';
      readonly test: Expression;
      readonly body: readonly Node[];
      readonly alternate: readonly Node[];
    }
  | ForStatement
  | { readonly type: 'Break' | 'Continue' | 'Comment' }
  | {
      readonly type: 'Set';
      readonly assignee: Expression;
      readonly value: Expression | null;
      readonly body: readonly Node[];
    }
  | MacroStatement
  | CallStatement
  | { readonly type: 'FilterStatement'; readonly filter: Identifier | Call; readonly body: readonly Node[] };

export interface ForStatement {
  readonly type: 'For';
  readonly loopvar: Expression;
  readonly iterable: Expression;
  readonly body: readonly Node[];
  readonly defaultBlock: readonly Node[];
}

export interface MacroStatement {
  readonly type: 'Macro';
  readonly name: Identifier;
  readonly args: readonly Parameter[];
  readonly body: readonly Node[];
}

export interface CallStatement {
  readonly type: 'CallStatement';
  readonly call: Call;
  readonly callerArgs: readonly Parameter[] | null;
  readonly body: readonly Node[];
}

export interface Identifier {
  readonly type: 'Identifier';
  readonly value: string;
}

export interface Call {
  readonly type: 'CallExpression';
  readonly callee: Expression;
  readonly args: readonly Expression[];
}

export interface KeywordArgument {
  readonly type: 'KeywordArgumentExpression';
  readonly key: Identifier;
  readonly value: Expression;
}

export type Parameter = Identifier | KeywordArgument;

export interface Slice {
  readonly type: 'SliceExpression';
  readonly start?: Expression;
  readonly stop?: Expression;
  readonly step?: Expression;
}

export type Expression =
  | Identifier
  | Call
  | KeywordArgument
  | Slice
  | { readonly type: 'IntegerLiteral' | 'FloatLiteral'; readonly value: number }
  | { readonly type: 'StringLiteral'; readonly value: string }
  | { readonly type: 'ArrayLiteral' | 'TupleLiteral'; readonly value: readonly Expression[] }
  | { readonly type: 'ObjectLiteral'; readonly value: ReadonlyMap<Expression, Expression> }
  | {
      readonly type: 'MemberExpression';
      readonly object: Expression;
      readonly property: Expression;
      readonly computed: boolean;
    }
  | {
      readonly type: 'BinaryExpression';
      readonly operator: { readonly value: string };
      readonly left: Expression;
      readonly right: Expression;
    }
  | { readonly type: 'UnaryExpression'; readonly operator: { readonly value: string }; readonly argument: Expression }
  | { readonly type: 'FilterExpression'; readonly operand: Expression; readonly filter: Identifier | Call }
  | {
      readonly type: 'TestExpression';
      readonly operand: Expression;
      readonly negate: boolean;
      readonly test: Identifier;
    }
  | { readonly type: 'SelectExpression'; readonly lhs: Expression; readonly test: Expression }
  | {
      readonly type: 'Ternary';
      readonly condition: Expression;
      readonly trueExpr: Expression;
      readonly falseExpr: Expression;
    }
  | { readonly type: 'SpreadExpression' | 'KeywordSpreadExpression'; readonly argument: Expression };

/** The longest chat templates of published models have some 30,000 characters. */
const MAX_LENGTH = 2 ** 18;
/** The parser's time grows with the square of a run of white space. */
const MAX_BLANK = 2000;

/** @throws {Error} if the template is not Jinja, or too long */
export function parseTemplate(source: string): readonly Node[] {
  if (source.length > MAX_LENGTH) {
    throw new Error(`expected at most ${MAX_LENGTH} characters, found ${source.length}`);
  }
  if (new RegExp(`\\s{${MAX_BLANK + 1}}`).test(source)) {
    throw new Error(`expected at most ${MAX_BLANK} spaces or line breaks in a row, found more`);
  }
  try {
    const options = { lstrip_blocks: true, trim_blocks: true };
    return (parse(tokenize(source, options)) as unknown as { readonly body: readonly Node[] }).body;
  } catch (error) {
    // the parser reads past the last token of a template that is cut off
    if (error instanceof TypeError) throw new Error('it ends inside a block or an expression', { cause: error });
    if (error instanceof RangeError) throw new Error('it is nested too deeply', { cause: error });
    const message = error instanceof Error ? error.message : String(error);
    throw new Error(message.replace(/^Parser Error: /, '').replace(/^Unexpected token( type)?: /, 'unexpected '), {
      cause: error,
    });
  }
}
