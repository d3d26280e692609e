/**
 * How far back a viewer of WebRTC could go. The server counts whoever asks for a playlist as a player of HLS, and encodes for it
 * what it otherwise might not: so this asks only when it is told to, which is when somebody reaches for the controls.
 */

import { firstVariant, keptNow, type Look, liveDateMs, readListed } from '../pure/kept.ts';

/** Until then the last look is good enough. */
const FRESH_MS = 15_000;
const PATIENCE_MS = 4_000;

export class Kept {
  readonly #url: string;
  #last: Look | null = null;
  #before: Look | null = null;
  #asking: Promise<void> | null = null;
  #askedMs = Number.NEGATIVE_INFINITY;

  /** @param url the stream's playlist, with its key */
  constructor(url: string) {
    this.#url = url;
  }

  /** Null while not known. */
  seconds(): number | null {
    return keptNow(this.#last, this.#before, performance.now());
  }

  liveDateMs(): number | null {
    return liveDateMs(this.#last, performance.now());
  }

  /** What was kept of one broadcast tells nothing of the next. */
  forget(): void {
    this.#last = null;
    this.#before = null;
    this.#askedMs = Number.NEGATIVE_INFINITY;
  }

  /** Asks, unless it is known well enough. */
  look(): Promise<void> {
    if (this.#asking === null && performance.now() - this.#askedMs > FRESH_MS) {
      this.#askedMs = performance.now();
      this.#asking = this.#ask().finally(() => {
        this.#asking = null;
      });
    }
    return this.#asking ?? Promise.resolve();
  }

  async #ask(): Promise<void> {
    try {
      const signal = AbortSignal.timeout(PATIENCE_MS);
      let playlist = await text(this.#url, signal);
      const variant = firstVariant(playlist);
      if (variant !== null) playlist = await text(new URL(variant, this.#url).href, signal);
      this.#before = this.#last;
      this.#last = { ...readListed(playlist), atMs: performance.now() };
    } catch {
      // Without an answer nobody knows; the way back is tried all the same.
    }
  }
}

async function text(url: string, signal: AbortSignal): Promise<string> {
  const response = await fetch(url, { cache: 'no-store', signal });
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  return response.text();
}
