/** Where the page hears what is on air: by events, and by asking again and again while those do not come. */

import { afterEvent, type Board, boardOf, EVENTS } from '../pure/board.ts';
import { paths } from '../pure/names.ts';
import { listStreams } from '../ui/api.ts';
import { whileVisible } from '../ui/dom.ts';

/** How often the list is asked for while no events come, and how often the page is drawn anew for its clocks. */
const POLL_MS = 2_000;

/** A server or proxy without events will hardly have them a second later. */
const RETRY_MS = 30_000;

/** What a page does with what it hears. */
export interface Hearer {
  board(board: Board): void;
  /** Neither way works; null when one does again. */
  trouble(reason: string | null): void;
}

export class Feed {
  readonly #hearer: Hearer;
  #board: Board = new Map();
  #source: EventSource | null = null;
  /** A snapshot has come over the present connection, and nothing has broken since. */
  #flows = false;
  #closedAt = Number.NEGATIVE_INFINITY;

  constructor(hearer: Hearer) {
    this.#hearer = hearer;
    // A hidden page must not hold one of the few connections that a browser has for a server over HTTP/1.1.
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) this.#close();
    });
    whileVisible(POLL_MS, () => this.#beat());
  }

  async #beat(): Promise<void> {
    if (this.#source === null && performance.now() - this.#closedAt >= RETRY_MS) this.#open();
    if (this.#flows) this.#hearer.board(this.#board);
    else await this.#poll();
  }

  #open(): void {
    const source = new EventSource(paths.apiEvents);
    this.#source = source;
    for (const name of EVENTS) {
      source.addEventListener(name, (event) => {
        this.#flows ||= name === 'snapshot';
        this.#take(afterEvent(this.#board, name, JSON.parse((event as MessageEvent<string>).data)));
      });
    }
    source.addEventListener('error', () => {
      this.#flows = false;
      // Otherwise the browser connects again by itself.
      if (source.readyState !== EventSource.CLOSED) return;
      this.#close();
      this.#closedAt = performance.now();
    });
  }

  #close(): void {
    this.#source?.close();
    this.#source = null;
    this.#flows = false;
  }

  async #poll(): Promise<void> {
    try {
      const streams = await listStreams();
      // Events that came meanwhile are newer.
      if (!this.#flows) this.#take(boardOf(streams));
    } catch (error) {
      if (this.#flows) return;
      const told = error instanceof Error && /answered/.test(error.message);
      this.#hearer.trouble(told ? error.message : 'It does not answer.');
    }
  }

  #take(board: Board): void {
    this.#board = board;
    this.#hearer.board(board);
    this.#hearer.trouble(null);
  }
}
