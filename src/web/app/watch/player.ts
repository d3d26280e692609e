/**
 * Keeps a stream playing: waits until it is on air, picks a path, watches the progress, and starts again when that
 * ends. It drives the `<video>` element and knows nothing of the page around it.
 */

import type { PathName } from '../pure/choose.ts';
import { sentence } from '../pure/format.ts';
import { backoffMs, retryAfterMs } from '../pure/retry.ts';
import {
  behind,
  behindBy,
  type Moment,
  moveTo,
  placeAfterLoss,
  placeFor,
  readSeek,
} from '../pure/timeline.ts';
import { getStream } from '../ui/api.ts';
import type { PathEnd, PlaybackPath } from './path.ts';
import { Progress } from './progress.ts';

export type WatchState = 'idle' | 'offline' | 'loading' | 'playing' | 'stalled' | 'failed';

export interface PlayerEvents {
  /** `detail`: `waiting-for-publisher` or `reconnecting` while nothing comes; the kind of absence; or what failed. */
  onState(state: WatchState, detail: string): void;
  /** Programme date and time of what is sent now; null when not known. */
  liveDateMs(): number | null;
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
/** From the start of an HLS path to its first picture: two target durations of 2 s, and the transcoder's start. */
const FIRST_PICTURE_MS = 20_000;
/** This many broken attempts in a row are shown as a failure (and go on being retried, slowly). */
const FAILED_AFTER = 4;
const FAILED_RETRY_MS = 15_000;
/** A jump that the viewer asked for is no stall for this long. */
const SEEK_MS = 4_000;

interface Outcome {
  /** `again`: something has changed since the paths were put in order. */
  end: PathEnd | 'again';
  reason: string;
}

export class Player {
  readonly #stream: string;
  /** The playlist, with its key: it tells whether the stream is on air. */
  readonly #hlsUrl: string;
  readonly #video: HTMLVideoElement;
  readonly #makePaths: (past: boolean) => PlaybackPath[];
  readonly #events: PlayerEvents;
  #state: WatchState = 'idle';
  #detail = '';
  #path: PlaybackPath | null = null;
  /** Wakes the main loop: an end of the path, or a wish of the viewer. */
  #run = new AbortController();
  #attempt = 0;
  #everPlayed = false;
  #stalls = 0;
  /** After an end, an old playlist may still be there; only a publisher counts then. */
  #needsPublisher = false;
  /** Why the paths before the present one were left. */
  #passedOver: string | null = null;
  #refused = false;
  /** Where the viewer is who has gone back; null is live. */
  #past: Moment | null = null;
  /** The path that played when it was live last. */
  #lastLive: PathName | null = null;
  /** Of the element, when it was looked at last. */
  #position = 0;
  #seekMs = Number.NEGATIVE_INFINITY;

  constructor(
    stream: string,
    hlsUrl: string,
    video: HTMLVideoElement,
    makePaths: (past: boolean) => PlaybackPath[],
    events: PlayerEvents,
  ) {
    this.#stream = stream;
    this.#hlsUrl = hlsUrl;
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

  /** Does the stream want a key that was not given? */
  get refused(): boolean {
    return this.#refused;
  }

  /** Why it does not play by the best path; null when it does. */
  get passedOver(): string | null {
    return this.#passedOver;
  }

  get stalls(): number {
    return this.#stalls;
  }

  /** Seconds behind live of a viewer who has gone back; null is live. */
  behindSeconds(): number | null {
    if (this.#past === null) return null;
    const window = this.#state === 'playing' ? (this.#path?.window?.() ?? null) : null;
    return window === null ? behindBy(this.#past, performance.now()) : behind(window);
  }

  /** Goes so many seconds behind live, by whichever way can; 0 is live. */
  goTo(aim: number): void {
    const window = this.#path?.window?.() ?? null;
    const path = this.#path?.name ?? null;
    const nowMs = performance.now();
    const move = moveTo(aim, { path, window, past: this.#past !== null, lastLive: this.#lastLive });
    const liveDateMs = this.#events.liveDateMs();
    this.#past = null;
    if (move === 'seek' || move === 'begin-there') {
      this.#past = {
        behind: aim,
        atMs: nowMs,
        dateMs: move === 'seek' || liveDateMs === null ? null : liveDateMs - aim * 1000,
      };
    }
    this.#seekMs = nowMs;
    if (move === 'begin-there' || move === 'begin-live') {
      this.start();
    } else if (move === 'jump-to-live') {
      this.#path?.seekToLive();
      void this.#play(this.#run.signal);
    } else if (move === 'seek' && window !== null) {
      this.#path?.seekTo?.(placeFor(window.edge - aim, window));
      void this.#play(this.#run.signal);
    }
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
    if (this.#past === null) this.#path.seekToLive();
    void this.#play(this.#run.signal);
  }

  /**
   * Stops loading.
   *
   * @param leaving the page is going away
   */
  stop(leaving = false): void {
    this.#run.abort();
    this.#dropPath(leaving);
    this.#set('idle', '');
  }

  /** Begins anew, and live. */
  startLive(): void {
    this.#past = null;
    this.start();
  }

  #set(state: WatchState, detail: string): void {
    if (state === 'stalled' && this.#state !== 'stalled') this.#stalls++;
    this.#state = state;
    this.#detail = detail;
    this.#events.onState(state, detail);
  }

  #dropPath(leaving = false): void {
    this.#path?.stop(leaving);
    this.#path = null;
  }

  async #loop(signal: AbortSignal): Promise<void> {
    this.#dropPath();
    this.#refused = false;
    while (!signal.aborted) {
      if (this.#state !== 'offline' && this.#state !== 'failed') this.#set('loading', '');
      if (this.#needsPublisher && (await this.#waitUntilOnAir(signal)) === 'given-up') return;
      const beganMs = performance.now();
      const { end, reason } = await this.#playOnce(signal);
      if (signal.aborted) return;
      this.#dropPath();
      if (end === 'again') continue;
      if (end === 'offline') {
        this.#attempt = 0;
        this.#needsPublisher = true;
        this.#past = null;
        this.#set('offline', this.#everPlayed ? 'ended' : 'nothing');
        // Whatever else says that it is on air: nobody is asked more often than this.
        await pause(beganMs + OFFLINE_POLL_MS - performance.now(), signal);
        continue;
      }
      if (end === 'unusable' || end === 'refused') {
        this.#refused = end === 'refused';
        this.#set(
          'failed',
          sentence(this.#refused ? reason : `This browser cannot play the stream: ${reason}`),
        );
        return;
      }
      this.#attempt++;
      const failed = this.#attempt >= FAILED_AFTER;
      if (failed)
        this.#set('failed', `The stream cannot be played at the moment: ${sentence(reason)} Trying again.`);
      await pause(failed ? FAILED_RETRY_MS : backoffMs(this.#attempt - 1, Math.random()), signal);
    }
  }

  async #waitUntilOnAir(signal: AbortSignal): Promise<'at-once' | 'waited' | 'given-up'> {
    for (let probes = 0; !signal.aborted; probes++) {
      const probe = await this.#probe(signal);
      if (signal.aborted) break;
      if (probe.onAir) {
        this.#needsPublisher = false;
        // A playlist alone may be what is left of a broadcast: a path has to show that it is not.
        if (this.#state === 'offline' && probe.sure) this.#set('loading', '');
        if (!probe.sure) await pause(OFFLINE_POLL_MS, signal);
        return probes === 0 ? 'at-once' : 'waited';
      }
      this.#set('offline', probe.reachable ? (this.#everPlayed ? 'ended' : 'nothing') : 'unreachable');
      await pause(probe.waitMs, signal);
      await visible(signal);
    }
    return 'given-up';
  }

  async #probe(signal: AbortSignal): Promise<Probe> {
    try {
      const response = await fetch(this.#hlsUrl, { cache: 'no-store', signal });
      // The body is not wanted, but an unread one would hold the connection.
      await response.arrayBuffer();
      const asked = retryAfterMs(response.headers.get('Retry-After'), Date.now());
      const waitMs = Math.min(LONGEST_POLL_MS, Math.max(OFFLINE_POLL_MS, asked ?? 0));
      // A refusal is no absence: the path finds the words for it.
      const there = response.ok || response.status === 401 || response.status === 403;
      const publisher = there && this.#needsPublisher ? await this.#hasPublisher() : there;
      return {
        onAir: publisher !== false,
        sure: publisher !== null,
        reachable: there || response.status === 404,
        waitMs,
      };
    } catch {
      return { onAir: false, sure: true, reachable: false, waitMs: OFFLINE_POLL_MS };
    }
  }

  /** Null when the API does not say: it may be closed to viewers, and then the playlist alone has to do. */
  async #hasPublisher(): Promise<boolean | null> {
    try {
      const info = await getStream(this.#stream);
      return info !== null && (info.state === 'live' || info.state === 'starting');
    } catch {
      return null;
    }
  }

  /** Tries the paths in order until one shows a picture, and follows that one to its end. */
  async #playOnce(signal: AbortSignal): Promise<Outcome> {
    let last: Outcome = { end: 'unusable', reason: 'it has neither WebRTC nor MSE nor native HLS' };
    const candidates = this.#makePaths(this.#past !== null);
    this.#passedOver = null;
    for (const [i, path] of candidates.entries()) {
      this.#dropPath();
      // WHEP says by itself whether something is on air; players of HLS are not made for playlists that are not there.
      if (path.name !== 'whep') {
        const onAir = await this.#waitUntilOnAir(signal);
        if (onAir === 'given-up') return { end: 'offline', reason: 'stopped' };
        if (onAir === 'waited' && i > 0) return { end: 'again', reason: '' };
      }
      this.#path = path;
      const outcome = await this.#follow(path, signal);
      if (signal.aborted) return outcome;
      last = outcome;
      if (outcome.end !== 'unusable') break;
      this.#passedOver = outcome.reason;
    }
    return last;
  }

  /** Resolves when the path has ended, by itself or because it makes no progress. */
  #follow(path: PlaybackPath, signal: AbortSignal): Promise<Outcome> {
    const video = this.#video;
    return new Promise((resolve) => {
      const done = new AbortController();
      const finish = (end: PathEnd, reason: string): void => {
        done.abort();
        window.clearInterval(timer);
        resolve({ end, reason });
      };
      const progress = new Progress(video, path);
      const timer = window.setInterval(() => this.#watch(path, progress, finish), WATCH_MS);
      // At the end of a playlist with EXT-X-ENDLIST.
      video.addEventListener('ended', () => finish('offline', 'the broadcast has ended'), {
        signal: done.signal,
      });
      signal.addEventListener('abort', () => finish('offline', 'stopped'), { signal: done.signal });
      video.addEventListener('seeking', () => this.#onSeeking(path), { signal: done.signal });
      path.start(video, { onEnd: finish }, this.#past).then(
        () => {
          if (!done.signal.aborted) void this.#play(signal);
        },
        (error: unknown) => finish('broken', String(error)),
      );
    });
  }

  /** The browser's own controls and media keys seek without asking anybody. */
  #onSeeking(path: PlaybackPath): void {
    const window = path.window?.() ?? null;
    if (window === null || this.#state !== 'playing') return;
    const meant = readSeek(this.#position, window, this.#past !== null);
    this.#position = window.position;
    if (meant !== null) this.#seekMs = performance.now();
    if (meant === 'live') {
      this.#past = null;
      path.seekToLive();
    } else if (meant === 'past') {
      this.#past = this.#momentOf(path);
      path.seekTo?.(window.position);
    }
  }

  #momentOf(path: PlaybackPath): Moment | null {
    const window = path.window?.() ?? null;
    if (window === null) return this.#past;
    return { behind: behind(window), atMs: performance.now(), dateMs: path.dateMs?.() ?? null };
  }

  /** Keeps in mind where the viewer is, and keeps that within what is kept. */
  #mindPlace(path: PlaybackPath): void {
    if (!this.#video.seeking) this.#position = this.#video.currentTime;
    if (this.#past === null) {
      this.#lastLive = path.name;
      return;
    }
    const window = path.window?.() ?? null;
    if (window === null) {
      // It plays, and cannot go back: this is live, whatever was asked for.
      this.#past = null;
      return;
    }
    const place = placeAfterLoss(window);
    if (place !== null) path.seekTo?.(place);
    if (!this.#video.seeking) this.#past = this.#momentOf(path);
  }

  /** Says how it goes, and ends what does not go. */
  #watch(path: PlaybackPath, progress: Progress, finish: (end: PathEnd, reason: string) => void): void {
    const nowMs = performance.now();
    if (this.#video.seeking && nowMs - this.#seekMs < SEEK_MS) progress.excuse(nowMs);
    const { quietMs, played } = progress.look(nowMs);
    if (played && quietMs === 0) {
      this.#everPlayed = true;
      this.#attempt = 0;
      this.#mindPlace(path);
      if (this.#state !== 'playing') this.#set('playing', '');
      return;
    }
    const waiting = path.waiting?.() ?? null;
    if (waiting !== null) {
      progress.excuse(nowMs);
      const detail = waiting === 'publisher' ? 'waiting-for-publisher' : 'reconnecting';
      const state = played ? 'stalled' : 'loading';
      if (this.#state !== state || this.#detail !== detail) this.#set(state, detail);
    } else if (this.#video.paused) {
      // The viewer's own pause, or a start that waits for a touch.
      progress.excuse(nowMs);
    } else if (!played && quietMs > FIRST_PICTURE_MS) {
      finish('broken', 'no picture came');
    } else if (played && quietMs > RESTART_AFTER_MS) {
      finish('broken', 'it stopped');
    } else if (played && quietMs > STALL_AFTER_MS && this.#state === 'playing') {
      this.#set('stalled', '');
    }
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

interface Probe {
  onAir: boolean;
  /** Whether that is known of the publisher, and not only of a playlist. */
  sure: boolean;
  reachable: boolean;
  waitMs: number;
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
