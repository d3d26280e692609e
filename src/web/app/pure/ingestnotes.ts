/** What the server says on the WebSocket of a WebM publisher. */

import { type Problem, readProblem } from './problem.ts';

export type IngestNote =
  /** The stream is fed by the recording; these kinds of it are taken. */
  | { type: 'begin'; tracks: string[] }
  /** The server does not read because enough waits there, or reads on. */
  | { type: 'flow'; paused: boolean }
  /** The end; the close frame follows. */
  | { type: 'error'; problem: Problem }
  | { type: 'end' };

/** Null for what is not understood: a newer server may say more. */
export function readNote(text: string): IngestNote | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null) return null;
  const note = value as Record<string, unknown>;
  switch (note['type']) {
    case 'begin': {
      const tracks = Array.isArray(note['tracks']) ? note['tracks'] : [];
      return { type: 'begin', tracks: tracks.filter((track) => typeof track === 'string') };
    }
    case 'flow':
      return { type: 'flow', paused: note['paused'] === true };
    case 'error': {
      const status = typeof note['status'] === 'number' ? note['status'] : 500;
      return { type: 'error', problem: readProblem(status, 'application/json', text) };
    }
    case 'end':
      return { type: 'end' };
    default:
      return null;
  }
}

/** Close codes of the server's own are this and a status of HTTP. */
const CODE_BASE = 4000;

/** What a close frame says when no `error` came before it; null when the connection merely ended. */
export function closeProblem(code: number, reason: string): Problem | null {
  const status = code - CODE_BASE;
  return status >= 400 && status <= 599 ? readProblem(status, 'text/plain', reason) : null;
}

/** The kinds that were sent and are not taken. */
export function kindsNotTaken(sent: readonly string[], taken: readonly string[]): string[] {
  return sent.filter((kind) => !taken.includes(kind));
}

/** The address of the WebSocket at an address of HTTP; the key goes into it, since a page cannot send headers with it. */
export function socketAddress(address: URL, token: string | null): URL {
  const socket = new URL(address);
  socket.protocol = address.protocol === 'https:' ? 'wss:' : 'ws:';
  socket.hash = '';
  if (token !== null) socket.searchParams.set('token', token);
  return socket;
}
