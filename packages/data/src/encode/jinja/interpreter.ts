import { bind } from './arguments';
import type { Budget } from './budget';
import { applyFilter, applyTest } from './filters';
import { attribute, binary, concatenate, isKey, item, slice, unary } from './operators';
import type { Call, CallStatement, Expression, ForStatement, Identifier, Node, Parameter } from './syntax';
import {
  type Arguments,
  Attributes,
  Callable,
  Dict,
  Float,
  fail,
  int,
  isEqual,
  isTrue,
  iterate,
  Sequence,
  text,
  typeName,
  Undefined,
  type Value,
} from './values';

/** Names that jinja2 defines, and no chat template needs. */
const UNSUPPORTED = new Set(['self', 'lipsum', 'cycler', 'joiner']);

/** The variables of a block; names that it does not set are those of the block around it. */
export class Scope {
  private readonly variables: Map<string, Value>;

  constructor(
    private readonly parent?: Scope,
    variables: Iterable<readonly [string, Value]> = [],
  ) {
    this.variables = new Map(variables);
  }

  get(name: string): Value {
    for (let scope: Scope | undefined = this; scope !== undefined; scope = scope.parent) {
      const value = scope.variables.get(name);
      if (value !== undefined) return value;
    }
    if (UNSUPPORTED.has(name)) fail(`'${name}' is not supported`);
    return new Undefined(`'${name}' is undefined`);
  }

  set(name: string, value: Value): void {
    this.variables.set(name, value);
  }
}

/** `break` or `continue`, on its way to the loop around it. */
type Signal = 'Break' | 'Continue' | undefined;

/** Renders a syntax tree as jinja2 does. */
export class Interpreter {
  private output = '';

  constructor(private readonly budget: Budget) {}

  render(body: readonly Node[], scope: Scope): string {
    const outer = this.output;
    this.output = '';
    if (this.run(body, scope) !== undefined) fail('break and continue are allowed in a loop only');
    const rendered = this.output;
    this.output = outer;
    return rendered;
  }

  private run(body: readonly Node[], scope: Scope): Signal {
    for (const node of body) {
      const signal = this.statement(node, scope);
      if (signal !== undefined) return signal;
    }
    return undefined;
  }

  private print(value: Value): void {
    this.output = concatenate(this.output, text(value, this.budget), this.budget);
  }

  private statement(node: Node, scope: Scope): Signal {
    switch (node.type) {
      case 'StringLiteral':
        this.print(node.value);
        return undefined;
      case 'If':
        return this.budget.nested(() =>
          this.run(isTrue(this.evaluate(node.test, scope)) ? node.body : node.alternate, scope),
        );
      case 'For':
        this.budget.nested(() => this.loop(node, scope));
        return undefined;
      case 'Set': {
        const value = node.value === null ? this.block(node.body, scope) : this.evaluate(node.value, scope);
        this.assign(node.assignee, value, scope);
        return undefined;
      }
      case 'Macro':
        scope.set(node.name.value, this.macro(node.name.value, node.args, node.body, scope));
        return undefined;
      case 'CallStatement':
        this.print(this.callBlock(node, scope));
        return undefined;
      case 'FilterStatement':
        this.print(this.filter(this.block(node.body, scope), node.filter, scope));
        return undefined;
      case 'Break':
      case 'Continue':
        return node.type;
      case 'Comment':
        return undefined;
      case 'Program':
        return this.run(node.body, scope);
      default:
        this.print(this.evaluate(node, scope));
        return undefined;
    }
  }

  private block(body: readonly Node[], scope: Scope): string {
    return this.budget.nested(() => this.render(body, new Scope(scope)));
  }

  private assign(target: Expression, value: Value, scope: Scope): void {
    if (target.type === 'Identifier') {
      scope.set(target.value, value);
    } else if (target.type === 'TupleLiteral') {
      const values = iterate(value, this.budget);
      const names = target.value;
      if (values.length < names.length) {
        fail(`not enough values to unpack (expected ${names.length}, got ${values.length})`);
      }
      if (values.length > names.length) fail(`too many values to unpack (expected ${names.length})`);
      for (const [i, name] of names.entries()) this.assign(name, values[i]!, scope);
    } else if (target.type === 'MemberExpression' && !target.computed && target.property.type === 'Identifier') {
      const object = this.evaluate(target.object, scope);
      if (!(object instanceof Attributes && object.type === 'Namespace')) {
        fail('cannot assign attribute on non-namespace object');
      }
      object.entries.set(target.property.value, value);
    } else {
      fail(`cannot assign to ${target.type}`);
    }
  }

  private loop(node: ForStatement, scope: Scope): void {
    const { iterable, loopvar } = node;
    const isFiltered = iterable.type === 'SelectExpression';
    let items = iterate(this.evaluate(isFiltered ? iterable.lhs : iterable, scope), this.budget);
    if (isFiltered) {
      items = items.filter((entry) => {
        const inner = new Scope(scope);
        this.assign(loopvar, entry, inner);
        return isTrue(this.evaluate(iterable.test, inner));
      });
    }
    let changed: readonly Value[] | undefined;
    const hasChanged = new Callable('function', ({ positional }) => {
      const same =
        changed?.length === positional.length && changed.every((v, i) => isEqual(v, positional[i]!, this.budget));
      changed = positional;
      return !same;
    });
    for (const [i, entry] of items.entries()) {
      this.budget.values(16);
      const loop = new Attributes(
        'LoopContext',
        new Map<string, Value>([
          ['index', i + 1],
          ['index0', i],
          ['revindex', items.length - i],
          ['revindex0', items.length - i - 1],
          ['first', i === 0],
          ['last', i === items.length - 1],
          ['length', items.length],
          ['previtem', items[i - 1] ?? new Undefined('there is no previous item')],
          ['nextitem', items[i + 1] ?? new Undefined('there is no next item')],
          [
            'cycle',
            new Callable(
              'function',
              ({ positional }) => positional[i % positional.length] ?? fail('no items for cycling given'),
            ),
          ],
          ['changed', hasChanged],
        ]),
      );
      const inner = new Scope(scope, [['loop', loop]]);
      this.assign(loopvar, entry, inner);
      if (this.run(node.body, inner) === 'Break') break;
    }
    if (items.length === 0 && this.run(node.defaultBlock, new Scope(scope)) !== undefined) {
      fail('break and continue are allowed in a loop only');
    }
  }

  private macro(name: string, parameters: readonly Parameter[], body: readonly Node[], scope: Scope): Callable {
    const names = parameters.map((parameter) => (parameter.type === 'Identifier' ? parameter : parameter.key).value);
    const reads = namesIn(body);
    return new Callable('Macro', ({ positional, keywords }) => {
      this.budget.spend(256);
      const inner = new Scope(scope);
      const extra = new Map([...keywords].filter(([key]) => !names.includes(key)));
      const caller = extra.get('caller');
      if (reads.has('caller') && !names.includes('caller')) {
        extra.delete('caller');
        inner.set('caller', caller ?? new Undefined('No caller defined'));
      }
      if (reads.has('kwargs')) {
        inner.set('kwargs', new Dict(extra));
      } else if (extra.size > 0) {
        fail(`macro '${name}' takes no keyword argument '${[...extra.keys()][0]}'`);
      }
      if (reads.has('varargs')) {
        inner.set('varargs', new Sequence(positional.slice(names.length), 'tuple'));
      } else if (positional.length > names.length) {
        fail(`macro '${name}' takes not more than ${names.length} argument(s)`);
      }
      const known = new Map([...keywords].filter(([key]) => names.includes(key)));
      const passed = bind(name, { positional: positional.slice(0, names.length), keywords: known }, names);
      for (const [i, parameter] of parameters.entries()) {
        const value = passed[i];
        if (value !== undefined) inner.set(names[i]!, value);
        else if (parameter.type === 'Identifier')
          inner.set(names[i]!, new Undefined(`parameter '${names[i]}' was not provided`));
        else inner.set(names[i]!, this.evaluate(parameter.value, inner));
      }
      return this.budget.nested(() => this.render(body, inner));
    });
  }

  private callBlock({ call, callerArgs, body }: CallStatement, scope: Scope): Value {
    const { positional, keywords } = this.arguments(call.args, scope);
    const caller = this.macro('caller', callerArgs ?? [], body, scope);
    return this.call(this.evaluate(call.callee, scope), {
      positional,
      keywords: new Map([...keywords, ['caller', caller]]),
    });
  }

  private call(callee: Value, args: Arguments): Value {
    if (callee instanceof Undefined) fail(callee.reason);
    if (!(callee instanceof Callable)) fail(`'${typeName(callee)}' object is not callable`);
    return callee.call(args);
  }

  private arguments(args: readonly Expression[], scope: Scope): Arguments {
    const positional: Value[] = [];
    const keywords = new Map<string, Value>();
    const setKeyword = (name: string, value: Value) => {
      if (keywords.has(name)) fail(`got multiple values for keyword argument '${name}'`);
      keywords.set(name, value);
    };
    for (const arg of args) {
      if (arg.type === 'KeywordArgumentExpression') {
        setKeyword(arg.key.value, this.evaluate(arg.value, scope));
      } else if (arg.type === 'SpreadExpression') {
        for (const value of iterate(this.evaluate(arg.argument, scope), this.budget)) positional.push(value);
      } else if (arg.type === 'KeywordSpreadExpression') {
        const value = this.evaluate(arg.argument, scope);
        if (!(value instanceof Dict)) fail(`argument after ** must be a mapping, not ${typeName(value)}`);
        for (const [key, entry] of value.entries) setKeyword(String(key), entry);
      } else {
        positional.push(this.evaluate(arg, scope));
      }
    }
    return { positional, keywords };
  }

  private filter(value: Value, filter: Identifier | Call, scope: Scope): Value {
    if (filter.type === 'Identifier') return applyFilter(filter.value, value, NO_ARGUMENTS, this.budget);
    if (filter.callee.type !== 'Identifier') fail('expected the name of a filter');
    return applyFilter(filter.callee.value, value, this.arguments(filter.args, scope), this.budget);
  }

  private evaluate(node: Expression, scope: Scope): Value {
    const { budget } = this;
    budget.step();
    switch (node.type) {
      case 'Identifier':
        return CONSTANTS.has(node.value) ? CONSTANTS.get(node.value)! : scope.get(node.value);
      case 'StringLiteral':
        return node.value;
      case 'IntegerLiteral':
        return int(node.value);
      case 'FloatLiteral':
        return new Float(node.value);
      default:
        return budget.nested(() => this.compound(node, scope));
    }
  }

  private compound(node: Expression, scope: Scope): Value {
    const { budget } = this;
    switch (node.type) {
      case 'ArrayLiteral':
      case 'TupleLiteral':
        budget.values(node.value.length);
        return new Sequence(
          node.value.map((entry) => this.evaluate(entry, scope)),
          node.type === 'ArrayLiteral' ? 'list' : 'tuple',
        );
      case 'ObjectLiteral': {
        budget.values(4 * node.value.size);
        return new Dict(
          new Map(
            Array.from(node.value, ([key, value]) => {
              const name = this.evaluate(key, scope);
              if (!isKey(name)) fail(`expected text or an integer as a key, found a value of type '${typeName(name)}'`);
              return [name, this.evaluate(value, scope)];
            }),
          ),
        );
      }
      case 'MemberExpression': {
        const object = this.evaluate(node.object, scope);
        const { property } = node;
        if (property.type === 'SliceExpression') {
          const bounds = [property.start, property.stop, property.step];
          return slice(
            object,
            bounds.map((bound) => bound && this.evaluate(bound, scope)),
            budget,
          );
        }
        if (!node.computed && property.type === 'Identifier') return attribute(object, property.value, budget);
        return item(object, this.evaluate(property, scope), budget);
      }
      case 'CallExpression': {
        const callee = this.evaluate(node.callee, scope);
        return this.call(callee, this.arguments(node.args, scope));
      }
      case 'UnaryExpression':
        return unary(node.operator.value, this.evaluate(node.argument, scope), isTrue);
      case 'BinaryExpression': {
        const left = this.evaluate(node.left, scope);
        const operator = node.operator.value;
        if (operator === 'and') return isTrue(left) ? this.evaluate(node.right, scope) : left;
        if (operator === 'or') return isTrue(left) ? left : this.evaluate(node.right, scope);
        return binary(operator, left, this.evaluate(node.right, scope), budget);
      }
      case 'FilterExpression':
        return this.filter(this.evaluate(node.operand, scope), node.filter, scope);
      case 'TestExpression':
        return applyTest(node.test.value, this.evaluate(node.operand, scope), [], budget) !== node.negate;
      case 'Ternary':
        return this.evaluate(isTrue(this.evaluate(node.condition, scope)) ? node.trueExpr : node.falseExpr, scope);
      case 'SelectExpression':
        if (isTrue(this.evaluate(node.test, scope))) return this.evaluate(node.lhs, scope);
        return new Undefined('the inline if-expression evaluated to false and no else section was defined.');
      default:
        return fail(`unexpected ${node.type}`);
    }
  }
}

const NO_ARGUMENTS: Arguments = { positional: [], keywords: new Map() };

const CONSTANTS = new Map<string, Value>([
  ...(['true', 'True'] as const).map((name): [string, Value] => [name, true]),
  ...(['false', 'False'] as const).map((name): [string, Value] => [name, false]),
  ...(['none', 'None'] as const).map((name): [string, Value] => [name, null]),
]);

/** The names that a macro's body mentions: jinja2 accepts extra arguments only where the body reads them. */
function namesIn(value: unknown, names = new Set<string>()): ReadonlySet<string> {
  if (value instanceof Map) {
    for (const [key, entry] of value) namesIn([key, entry], names);
  } else if (typeof value === 'object' && value !== null) {
    const { type, value: name } = value as { type?: unknown; value?: unknown };
    if (type === 'Identifier' && typeof name === 'string') names.add(name);
    for (const part of Object.values(value)) namesIn(part, names);
  }
  return names;
}
