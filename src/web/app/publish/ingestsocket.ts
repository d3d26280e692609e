/** The WebSocket of `/ingest/webm/{stream}`. */

import { closeProblem, type IngestNote, readNote, socketAddress } from '../pure/ingestnotes.ts';
import type { Problem } from '../pure/problem.ts';
import { bearer, exchange, refusal, SessionRefused } from '../webrtc/session.ts';

/** How long the server may take to welcome us, and again for the handshake. */
const OPEN_DEADLINE_MS = 10_000;

/** Upgrade Required (RFC 9110 section 15.5.22): the key is good, and a WebSocket would be welcome. */
const UPGRADE_REQUIRED = 426;

const NORMAL_CLOSURE = 1000;

/** HTTP works, the WebSocket does not. */
export class SocketFailed extends Error {}

/** Another publisher feeds the stream now. */
export class TakenOver extends Error {}

export class IngestSocket {
  /** What the server says, except of its errors. */
  onNote: (note: IngestNote) => void = () => {};
  /** Called once when the socket is gone and nobody here has closed it. */
  onClosed: (why: Error) => void = () => {};

  readonly location: string;
  readonly #socket: WebSocket;
  /** Said before the close frame, at more length. */
  #problem: Problem | null = null;

  private constructor(address: URL, token: string | null) {
    this.location = socketAddress(address, null).href;
    this.#socket = new WebSocket(socketAddress(address, token));
    this.#socket.addEventListener('message', ({ data }) => {
      const note = typeof data === 'string' ? readNote(data) : null;
      if (note?.type === 'error') this.#problem = note.problem;
      else if (note !== null) this.onNote(note);
    });
    this.#socket.addEventListener('close', ({ code, reason }) => this.onClosed(this.#why(code, reason)));
  }

  /** Throws an error of this module or of `webrtc/session.ts`, or the signal's reason. */
  static async open(endpoint: URL, token: string | null, signal: AbortSignal): Promise<IngestSocket> {
    // A refusal of the handshake is not shown to pages, so it is asked for first.
    const init: RequestInit = { headers: bearer(token), cache: 'no-store' };
    const { response, body } = await exchange(endpoint, init, OPEN_DEADLINE_MS, signal);
    if (response.status !== UPGRADE_REQUIRED) throw refusal(response, body);
    signal.throwIfAborted();
    // As it was after redirects: fetch follows them, a WebSocket does not.
    const socket = new IngestSocket(new URL(response.url || endpoint), token);
    await socket.#opened(signal);
    return socket;
  }

  #opened(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const fail = (why: unknown): void => {
        settle();
        this.close();
        reject(why);
      };
      const timer = window.setTimeout(() => fail(new SocketFailed()), OPEN_DEADLINE_MS);
      const aborted = (): void => fail(signal.reason);
      const settle = (): void => {
        window.clearTimeout(timer);
        signal.removeEventListener('abort', aborted);
        this.onClosed = () => {};
      };
      signal.addEventListener('abort', aborted);
      this.onClosed = fail;
      this.#socket.addEventListener('open', () => {
        settle();
        resolve();
      });
    });
  }

  #why(code: number, reason: string): Error {
    const problem = this.#problem ?? closeProblem(code, reason);
    if (problem === null) return new SocketFailed();
    return problem.status === 409 ? new TakenOver() : new SessionRefused(problem, null);
  }

  /** Bytes that have not left yet. */
  get waitingBytes(): number {
    return this.#socket.bufferedAmount;
  }

  /** Into the queue; a socket that is closed takes nothing and says so by itself. */
  send(chunk: Blob): void {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(chunk);
  }

  /** What waits is still sent. */
  close(): void {
    this.onClosed = () => {};
    this.#socket.close(NORMAL_CLOSURE);
  }
}
