/**
 * Keeps a stream playing: waits until it is on air, picks a path, watches the progress, and starts again when that
 * ends. It drives the `<video>` element and knows nothing of the page around it.
 */

import { paths } from '../pure/names.ts';
import { backoffMs, retryAfterMs } from '../pure/retry.ts';
import { getStream } from '../ui/api.ts';
import type { PathEnd, PlaybackPath } from './path.ts';

export type WatchState = 'idle' | 'offline' | 'loading' | 'playing' | 'stalled' | 'failed';

export interface PlayerEvents {
  onState(state: WatchState, detail: string): void;
  /** The browser lets nothing play with sound before a touch: it plays muted. */
  onMutedByBrowser(): void;
}

const OFFLINE_POLL_MS = 2_000;
/** The most that a `Retry-After` may slow us down. */
const LONGEST_POLL_MS = 10_000;
const WATCH_MS = 250;
/** No progress for this long is a stall: longer than a decoder's hiccup, shorter than a viewer's patience. */
const STALL_AFTER_MS = 1_500;
/** A stall that lasts is not going to end by itself. */
const RESTART_AFTER_MS = 12_000;
/** From the start of a path to its first picture: two target durations of 2 s, and the transcoder's start. */
const FIRST_PICTURE_MS = 20_000;
/** This many broken attempts in a row are shown as a failure (and go on being retried, slowly). */
const FAILED_AFTER = 4;
const FAILED_RETRY_MS = 15_000;

export class Player {
  readonly #stream: string;
  readonly #video: HTMLVideoElement;
  readonly #makePaths: () => PlaybackPath[];
  readonly #events: PlayerEvents;
  #state: WatchState = 'idle';
  #path: PlaybackPath | null = null;
  /** Wakes the main loop: an end of the path, or a wish of the viewer. */
  #run = new AbortController();
  #attempt = 0;
  #everPlayed = false;
  #stalls = 0;
  /** After an end, an old playlist may still be there; only a publisher counts then. */
  #needsPublisher = false;

  constructor(
    stream: string,
    video: HTMLVideoElement,
    makePaths: () => PlaybackPath[],
    events: PlayerEvents,
  ) {
    this.#stream = stream;
    this.#video = video;
    this.#makePaths = makePaths;
    this.#events = events;
  }

  get state(): WatchState {
    return this.#state;
  }

  get path(): PlaybackPath | null {
    return this.#path;
  }

  get stalls(): number {
    return this.#stalls;
  }

  /** Plays as soon as there is something to play. */
  start(): void {
    this.#run.abort();
    this.#run = new AbortController();
    this.#attempt = 0;
    void this.#loop(this.#run.signal);
  }

  /** Goes on after a pause that did not come from here (media keys, picture in picture), or starts. */
  resume(): void {
    if (this.#path === null) {
      this.start();
      return;
    }
    this.#path.seekToLive();
    void this.#play(this.#run.signal);
  }

  /** Stops loading; the element keeps its last picture until the next start. */
  stop(): void {
    this.#run.abort();
    this.#dropPath();
    this.#set('idle', '');
  }

  #set(state: WatchState, detail: string): void {
    if (state === 'stalled' && this.#state !== 'stalled') this.#stalls++;
    this.#state = state;
    this.#events.onState(state, detail);
  }

  #dropPath(): void {
    this.#path?.stop();
    this.#path = null;
  }

  async #loop(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      if (this.#state !== 'offline' && this.#state !== 'failed') this.#set('loading', '');
      if (!(await this.#waitUntilOnAir(signal))) return;
      const { end, reason } = await this.#playOnce(signal);
      if (signal.aborted) return;
      this.#dropPath();
      if (end === 'offline') {
        this.#attempt = 0;
        this.#needsPublisher = true;
        continue;
      }
      if (end === 'unusable') {
        this.#set('failed', `This browser cannot play the stream: ${reason}.`);
        return;
      }
      this.#attempt++;
      const failed = this.#attempt >= FAILED_AFTER;
      if (failed) this.#set('failed', `The stream cannot be played at the moment: ${reason}. Trying again.`);
      await pause(failed ? FAILED_RETRY_MS : backoffMs(this.#attempt - 1, Math.random()), signal);
    }
  }

  /** False when the run was given up meanwhile. */
  async #waitUntilOnAir(signal: AbortSignal): Promise<boolean> {
    while (!signal.aborted) {
      const { onAir, reachable, waitMs } = await this.#probe(signal);
      if (signal.aborted) return false;
      if (onAir) {
        this.#needsPublisher = false;
        if (this.#state === 'offline') this.#set('loading', '');
        return true;
      }
      this.#set('offline', reachable ? (this.#everPlayed ? 'ended' : 'nothing') : 'unreachable');
      await pause(waitMs, signal);
      await visible(signal);
    }
    return false;
  }

  async #probe(signal: AbortSignal): Promise<{ onAir: boolean; reachable: boolean; waitMs: number }> {
    try {
      const response = await fetch(paths.hls(this.#stream), { cache: 'no-store', signal });
      // The body is not wanted, but an unread one would hold the connection.
      await response.arrayBuffer();
      const asked = retryAfterMs(response.headers.get('Retry-After'), Date.now());
      const waitMs = Math.min(LONGEST_POLL_MS, Math.max(OFFLINE_POLL_MS, asked ?? 0));
      const onAir = response.ok && (!this.#needsPublisher || (await this.#hasPublisher()));
      return { onAir, reachable: response.ok || response.status === 404, waitMs };
    } catch {
      return { onAir: false, reachable: false, waitMs: OFFLINE_POLL_MS };
    }
  }

  async #hasPublisher(): Promise<boolean> {
    try {
      const info = await getStream(this.#stream);
      return info !== null && info.state !== 'waiting';
    } catch {
      // The API may be closed to viewers: then the playlist alone decides.
      return true;
    }
  }

  /** Tries the paths in order until one shows a picture, and follows that one to its end. */
  async #playOnce(signal: AbortSignal): Promise<{ end: PathEnd; reason: string }> {
    let last: { end: PathEnd; reason: string } = {
      end: 'unusable',
      reason: 'it has neither MSE nor native HLS',
    };
    for (const path of this.#makePaths()) {
      this.#dropPath();
      this.#path = path;
      const outcome = await this.#follow(path, signal);
      if (signal.aborted) return outcome;
      last = outcome;
      if (outcome.end !== 'unusable') break;
    }
    return last;
  }

  /** Resolves when the path has ended, by itself or because it makes no progress. */
  #follow(path: PlaybackPath, signal: AbortSignal): Promise<{ end: PathEnd; reason: string }> {
    const video = this.#video;
    return new Promise((resolve) => {
      const done = new AbortController();
      const finish = (end: PathEnd, reason: string): void => {
        done.abort();
        window.clearInterval(timer);
        resolve({ end, reason });
      };
      const progress = new Progress(video);
      const timer = window.setInterval(() => {
        const { quietMs, played } = progress.look(performance.now());
        if (played && quietMs === 0) {
          this.#everPlayed = true;
          this.#attempt = 0;
          if (this.#state !== 'playing') this.#set('playing', '');
        } else if (video.paused) {
          // The viewer's own pause, or a start that waits for a touch.
          progress.reset(performance.now());
        } else if (!played && quietMs > FIRST_PICTURE_MS) {
          finish('broken', 'no picture came');
        } else if (played && quietMs > RESTART_AFTER_MS) {
          finish('broken', 'it stopped');
        } else if (played && quietMs > STALL_AFTER_MS && this.#state === 'playing') {
          this.#set('stalled', '');
        }
      }, WATCH_MS);
      // At the end of a playlist with EXT-X-ENDLIST.
      video.addEventListener('ended', () => finish('offline', 'the broadcast has ended'), {
        signal: done.signal,
      });
      signal.addEventListener('abort', () => finish('offline', 'stopped'), { signal: done.signal });
      path.start(video, { onEnd: finish }).then(
        () => this.#play(signal),
        (error: unknown) => finish('broken', String(error)),
      );
    });
  }

  /** Begins to play, with sound if the browser lets us. */
  async #play(signal: AbortSignal): Promise<void> {
    const video = this.#video;
    try {
      await video.play();
    } catch (error) {
      if (signal.aborted || !(error instanceof DOMException) || error.name !== 'NotAllowedError') return;
      if (video.muted) {
        // Not even without sound (power saving): only a touch helps.
        this.stop();
        return;
      }
      video.muted = true;
      this.#events.onMutedByBrowser();
      await this.#play(signal);
    }
  }
}

/** Does the picture advance? */
class Progress {
  readonly #video: HTMLVideoElement;
  #position: number;
  #sinceMs: number;
  #played = false;

  constructor(video: HTMLVideoElement) {
    this.#video = video;
    this.#position = video.currentTime;
    this.#sinceMs = performance.now();
  }

  reset(nowMs: number): void {
    this.#sinceMs = nowMs;
    this.#position = this.#video.currentTime;
  }

  /** `quietMs`: for how long the position has not moved; `played`: has it ever? */
  look(nowMs: number): { quietMs: number; played: boolean } {
    const { currentTime, paused, seeking, readyState } = this.#video;
    if (
      currentTime !== this.#position &&
      !paused &&
      !seeking &&
      readyState >= HTMLMediaElement.HAVE_CURRENT_DATA
    ) {
      // The first move may be the jump to the live edge and not a picture.
      this.#played = this.#played || (currentTime > this.#position && currentTime - this.#position < 1);
      this.reset(nowMs);
      return { quietMs: 0, played: this.#played };
    }
    return { quietMs: nowMs - this.#sinceMs, played: this.#played };
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const timer = window.setTimeout(resolve, ms);
    signal.addEventListener('abort', () => {
      window.clearTimeout(timer);
      resolve();
    });
  });
}

/** A page that nobody looks at does not ask the server whether something is on air. */
function visible(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (!document.hidden || signal.aborted) {
      resolve();
      return;
    }
    const done = new AbortController();
    const look = (): void => {
      if (document.hidden && !signal.aborted) return;
      done.abort();
      resolve();
    };
    document.addEventListener('visibilitychange', look, { signal: done.signal });
    signal.addEventListener('abort', look, { signal: done.signal });
  });
}
