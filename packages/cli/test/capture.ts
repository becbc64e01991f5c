import { Writable } from 'node:stream';
import type { Terminal } from '../src/terminal/terminal';

/** A terminal that keeps what is written to it. */
export function capture(): Terminal & { out(): string; err(): string } {
  const [stdout, stderr] = [sink(), sink()];
  return { stdout: stdout.stream, stderr: stderr.stream, out: stdout.text, err: stderr.text };
}

function sink() {
  let text = '';
  const stream = new Writable({
    write(chunk, _encoding, done) {
      text += String(chunk);
      done();
    },
  });
  return { stream, text: () => text };
}
