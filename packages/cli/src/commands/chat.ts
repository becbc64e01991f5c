import { createInterface } from 'node:readline';
import type { Message } from '@wpo/data';
import { loadTokenizerFolder } from '@wpo/data/node';
import type { Gemma2 } from '@wpo/gemma';
import type { AdapterChoice } from '../adapters';
import { encode } from '../answers/encode-prompts';
import { streamAnswer } from '../answers/stream-answer';
import { adapterIn, localModel } from '../downloads';
import { fromInput, isUserError, UserError } from '../errors';
import { type Backend, loadBackend, loadModel } from '../models';
import { type ChatConfig, chatSchema } from '../schemas/chat';
import { checkFlags } from '../schemas/flags';
import { processTerminal, screenOf, type Terminal } from '../terminal/terminal';

const HELP = `/compare  show the answers of both models, or of one again
/new      start a new conversation
/help     this list
/exit     end the chat, like Ctrl-D
Ctrl-C    stop the answer
`;

/** A conversation of this many tokens must fit in memory beside the model. */
const CHECKED_TOKENS = 2048;

/** Where messages are typed; the output shows what is typed, if both are a terminal's. */
export interface Console {
  readonly stdin: NodeJS.ReadableStream & { readonly isTTY?: boolean };
  readonly stdout: NodeJS.WritableStream & { readonly isTTY?: boolean };
}

/** `wpo chat`: a conversation with a model, and on request with a second one. Returns the exit status. */
export async function chat(
  config: ChatConfig,
  terminal: Terminal = processTerminal(),
  { stdin: input, stdout: output }: Console = process,
): Promise<number> {
  checkFlags(chatSchema, config);
  const screen = screenOf(terminal);
  const isInteractive = input.isTTY === true && output.isTTY === true;
  const backend = await loadBackend(config);
  const adapter = await adapterIn(config.adapter, terminal);
  const load = (source: string, adapter?: AdapterChoice) =>
    loadSpeakers(source, { config, backend, terminal: screen, adapter });
  const own = await load(config.model, adapter);
  let other: Speakers | undefined;
  try {
    const lines = createInterface({ input, terminal: isInteractive, ...(isInteractive && { output }) });
    let answering: AbortController | undefined;
    lines.on('SIGINT', () => (answering ? answering.abort() : lines.close()));
    const ask = () => isInteractive && lines.prompt();
    if (isInteractive) screen.stdout.write('/help lists what you can type.\n');
    let messages: Message[] = [];
    let compares = false;
    let answers = 0;
    ask();
    for await (const line of lines) {
      const text = line.trim();
      if (text === '/exit') break;
      try {
        if (text.startsWith('/')) await obey(text);
        else if (text !== '') await answer(text);
      } catch (error) {
        if (!(error instanceof Error) || !isUserError(error)) throw error;
        screen.printError(error.message);
      }
      ask();
    }
    lines.close();
    if (isInteractive) screen.stdout.write('\n');
    return 0;

    async function obey(command: string): Promise<void> {
      if (command === '/help') return void screen.stdout.write(HELP);
      if (command === '/new') {
        messages = [];
        return void screen.stdout.write('A new conversation.\n');
      }
      if (command !== '/compare') {
        throw new UserError(`${command}: expected /compare, /new, /help or /exit, or a message without a slash.`);
      }
      if (config.compareWith !== undefined) other ??= await load(config.compareWith);
      else if (adapter === undefined) {
        throw new UserError(
          '/compare: expected a model to compare with, found none. Start again with --compare-with and the model before training.',
        );
      }
      compares = !compares;
      screen.stdout.write(compares ? 'Both models answer from now on.\n' : 'One model answers from now on.\n');
    }

    async function answer(text: string): Promise<void> {
      const asked: Message[] = [...messages, { role: 'user', content: text }];
      answering = new AbortController();
      const { signal } = answering;
      const options = { seed: config.seed + answers++, signal };
      try {
        if (compares) screen.stdout.write(`[${nameOf(config.adapter ?? config.model)}]\n`);
        const content = await own.model(asked, options);
        // a stopped answer is part of the conversation, unless nothing of it was seen
        if (content !== '') messages = [...asked, { role: 'assistant', content }];
        if (!compares || signal.aborted) return;
        screen.stdout.write(`[${nameOf(config.compareWith ?? config.model)}]\n`);
        await (other?.model ?? own.withoutAdapter)(asked, options);
      } finally {
        answering = undefined;
      }
    }
  } finally {
    own.dispose();
    other?.dispose();
  }
}

const nameOf = (source: string) => source.replace(/\/+$/, '');

/**
 * Prints a model's answer to a conversation while it is generated, and returns its text. Ends early once the signal is aborted.
 *
 * @throws {UserError} if the conversation is longer than the model can read
 */
type Speaker = (
  messages: readonly Message[],
  options: { readonly seed: number; readonly signal: AbortSignal },
) => Promise<string>;

/** A model in memory. Without an adapter both speakers are the same. */
interface Speakers {
  readonly model: Speaker;
  readonly withoutAdapter: Speaker;
  dispose(): void;
}

async function loadSpeakers(
  source: string,
  {
    config: { maxNewTokens, temperature, topK, topP },
    backend,
    terminal,
    adapter,
  }: { config: ChatConfig; backend: Backend; terminal: Terminal; adapter?: AdapterChoice | undefined },
): Promise<Speakers> {
  const folder = await localModel(source, terminal);
  const textOptions = {
    ...(await fromInput(() => loadTokenizerFolder(folder))),
    promptFormat: 'messages',
    systemRole: 'error',
  } as const;
  const { tokenizer } = textOptions;
  const use = { kind: 'generate', answers: 1, promptTokens: CHECKED_TOKENS, maxNewTokens } as const;
  const { policy, base, stopIds, dispose } = await loadModel(folder, { ...backend, terminal, use, adapter });
  const speakerOf =
    (model: Gemma2): Speaker =>
    async (messages, { seed, signal }) => {
      const promptIds = await fromInput(() => encode({ prompt: messages }, textOptions));
      const longest = model.config.maxPositionEmbeddings;
      const room = longest - promptIds.length;
      if (room < 1) {
        throw new UserError(
          `${source}: expected a conversation of at most ${longest - 1} tokens, found ${promptIds.length}. Start a new one with /new.`,
        );
      }
      const { text } = await streamAnswer(promptIds, model, {
        ...{ maxNewTokens: Math.min(maxNewTokens, room), temperature, topK, topP, seed, signal, tokenizer },
        stopIds: [...stopIds, tokenizer.tokenId('<end_of_turn>') ?? []].flat(),
        kernels: backend.kernels,
        show: (part) => void terminal.stdout.write(part),
      });
      terminal.stdout.write('\n');
      return text.trim();
    };
  return { model: speakerOf(policy.model), withoutAdapter: speakerOf(base), dispose };
}
