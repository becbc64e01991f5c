import { createServer, type RequestListener } from 'node:http';
import { type AddressInfo, createServer as createSocketServer, type Server, type Socket } from 'node:net';
import { afterAll } from 'vitest';

const open: { close(): void }[] = [];
afterAll(() => {
  for (const server of open) server.close();
});

/** A server that answers as the test says. It is closed after the file's last test. Returns its address, with /v1. */
export async function rawServer(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  open.push({ close: () => server.close(() => {}) && server.closeAllConnections() });
  return addressOf(server);
}

/** A server that sends these bytes to every request, whatever it is, and then closes the connection. */
export async function socketServer(reply: string | Uint8Array): Promise<string> {
  const sockets = new Set<Socket>();
  const server = createSocketServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('data', () => socket.end(reply));
  });
  open.push({
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  });
  return addressOf(server);
}

async function addressOf(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
}
