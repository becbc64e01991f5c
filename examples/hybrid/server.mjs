// Replaces two models on a GPU: a reward model behind /pooling and a judge behind /v1/chat/completions. It rates an answer by how
// many different words it has. Every fifth request fails, as on a busy server.
import { createServer } from 'node:http';

const score = (text) => Math.log1p(new Set(text.toLowerCase().match(/\p{L}{2,}/gu)).size);

/** The judge gets two answers, m and M. The log-probs of its first token say which one it prefers. */
function verdict({ messages }) {
  const [, m, M] = messages
    .at(-1)
    .content.match(/<answer name="m">\n(.*)\n<\/answer>.*<answer name="M">\n(.*)\n<\/answer>/s);
  const preferred = 1 / (1 + Math.exp(score(M) - score(m)));
  const top_logprobs = [
    { token: 'm', logprob: Math.log(preferred) },
    { token: 'M', logprob: Math.log(1 - preferred) },
  ];
  const content = preferred > 0.5 ? 'm' : 'M';
  const logprobs = {
    content: [{ token: content, logprob: Math.log(Math.max(preferred, 1 - preferred)), top_logprobs }],
  };
  return { choices: [{ index: 0, finish_reason: 'length', message: { role: 'assistant', content }, logprobs }] };
}

const routes = {
  '/v1/models': () => ({ object: 'list', data: [{ id: 'stand-in', object: 'model' }] }),
  '/pooling': ({ messages }) => ({ object: 'list', data: [{ index: 0, data: [score(messages.at(-1).content)] }] }),
  '/v1/chat/completions': verdict,
};

/** Starts the server on a free local port. */
export async function startServer() {
  const counts = { answered: 0, failed: 0 };
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
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
