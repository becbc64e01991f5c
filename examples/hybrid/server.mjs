// A stand-in for two models on a GPU: the reward model behind /pooling, and the judge behind /v1/chat/completions. Its taste
// is a rule: an answer is good by how many different words it has. Every fifth request fails, as busy servers do.
import { createServer } from 'node:http';

const taste = (text) => Math.log1p(new Set(text.toLowerCase().match(/\p{L}{2,}/gu)).size);

/** The judge is shown two answers, m and M, and says which it prefers by its first token's log-probs. */
function verdict({ messages }) {
  const [, m, M] = messages
    .at(-1)
    .content.match(/<answer name="m">\n(.*)\n<\/answer>.*<answer name="M">\n(.*)\n<\/answer>/s);
  const share = 1 / (1 + Math.exp(taste(M) - taste(m)));
  const top_logprobs = [
    { token: 'm', logprob: Math.log(share) },
    { token: 'M', logprob: Math.log(1 - share) },
  ];
  const content = share > 0.5 ? 'm' : 'M';
  const logprobs = { content: [{ token: content, logprob: Math.log(Math.max(share, 1 - share)), top_logprobs }] };
  return { choices: [{ index: 0, finish_reason: 'length', message: { role: 'assistant', content }, logprobs }] };
}

const routes = {
  '/v1/models': () => ({ object: 'list', data: [{ id: 'stand-in', object: 'model' }] }),
  '/pooling': ({ messages }) => ({ object: 'list', data: [{ index: 0, data: [taste(messages.at(-1).content)] }] }),
  '/v1/chat/completions': verdict,
};

/** Starts the server on a free port of this machine. */
export async function standIn() {
  const counts = { answered: 0, failed: 0 };
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const piece of request) body += piece;
    if ((counts.answered + counts.failed) % 5 === 4) {
      counts.failed += 1;
      response.writeHead(503, { 'retry-after-ms': '20' }).end('busy');
      return;
    }
    counts.answered += 1;
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify(routes[request.url](JSON.parse(body || '{}'))));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${server.address().port}`, counts, close: () => server.close() };
}
