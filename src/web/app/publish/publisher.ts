/**
 * Keeps a stream published: opens a session, notices when it is lost, and opens the next one, until told to stop.
 */

import { codecName } from '../pure/codecs.ts';
import {
  badAnswer,
  codecMissing,
  type Failure,
  handshakeFailed,
  iceFailed,
  recorderFailed,
  serverRefused,
  serverUnreachable,
  socketFailed,
  takenOver,
} from '../pure/failures.ts';
import { paths } from '../pure/names.ts';
import { isPassing } from '../pure/problem.ts';
import { backoffMs } from '../pure/retry.ts';
import type { SendReadout } from '../pure/stats.ts';
import {
  type Abilities,
  failureToShow,
  firstVia,
  nextVia,
  noVia,
  type Via,
  type ViaWish,
} from '../pure/way.ts';
import { AnswerNonsense, ServerUnreachable, SessionRefused } from '../webrtc/session.ts';
import { HandshakeFailed, IceFailed } from '../webrtc/waits.ts';
import { SocketFailed, TakenOver } from './ingestsocket.ts';
import { canRecord, RecorderFailed, Recording } from './recording.ts';
import { CodecMissing, type Outgoing, type Sending } from './sending.ts';
import { Session } from './session.ts';

export type PublishState = 'idle' | 'connecting' | 'live' | 'reconnecting' | 'failed' | 'stopped';

/** After our own session was ended, the server needs a moment to say that nobody publishes. */
const TAKEOVER_CHECKS = 3;
const TAKEOVER_CHECK_MS = 700;

export interface PublisherEvents {
  onState(state: PublishState, failure: Failure | null): void;
  /** The server takes only a part of what was offered. */
  onRefusedKinds(kinds: string[]): void;
  /** The way of this run, at its beginning and when it changes; with the reason for leaving WebRTC. */
  onVia(via: Via, leftFor: Failure | null): void;
}

export class Publisher {
  readonly #stream: string;
  readonly #wish: ViaWish;
  readonly #events: PublisherEvents;
  #state: PublishState = 'idle';
  #session: Sending | null = null;
  #via: Via | null = null;
  #stopper = new AbortController();

  constructor(stream: string, wish: ViaWish, events: PublisherEvents) {
    this.#stream = stream;
    this.#wish = wish;
    this.#events = events;
  }

  get state(): PublishState {
    return this.#state;
  }

  /** The session's address on the server while there is one. */
  get location(): string | null {
    return this.#session?.location ?? null;
  }

  /** The way of this run, or of the last one. */
  get via(): Via | null {
    return this.#via;
  }

  get running(): boolean {
    return this.#state === 'connecting' || this.#state === 'live' || this.#state === 'reconnecting';
  }

  /** Goes live and stays live; returns at once. */
  start(outgoing: Outgoing, token: string | null): void {
    if (this.running) return;
    const can: Abilities = {
      webrtc: typeof RTCPeerConnection !== 'undefined',
      webm: canRecord(outgoing),
    };
    const via = firstVia(this.#wish, can);
    if (via === null) {
      this.#set('failed', noVia(this.#wish));
      return;
    }
    this.#stopper = new AbortController();
    this.#set('connecting', null);
    this.#take(via, null);
    void this.#run(outgoing, token, can, this.#stopper.signal);
  }

  /** Ends the broadcast; the state says `stopped`, or `failed` with the given reason. */
  stop(failure: Failure | null = null, leaving = false): void {
    if (!this.running) return;
    this.#stopper.abort();
    void this.#session?.close(leaving);
    this.#session = null;
    this.#set(failure === null ? 'stopped' : 'failed', failure);
  }

  async replaceTrack(track: MediaStreamTrack): Promise<void> {
    await this.#session?.replaceTrack(track);
  }

  /** Tries the network anew, without a new session. */
  restartIce(): void {
    this.#session?.restartIce();
  }

  async readout(): Promise<SendReadout | null> {
    return this.#state === 'live' && this.#session !== null ? this.#session.readout() : null;
  }

  #set(state: PublishState, failure: Failure | null): void {
    this.#state = state;
    this.#events.onState(state, failure);
  }

  #take(via: Via, leftFor: Failure | null): void {
    this.#via = via;
    this.#events.onVia(via, leftFor);
  }

  #make(via: Via, outgoing: Outgoing, token: string | null): Sending {
    const at = (path: string): URL => new URL(path, window.location.href);
    return via === 'webrtc'
      ? new Session(at(paths.whip(this.#stream)), token, outgoing)
      : new Recording(at(paths.webm(this.#stream)), token, outgoing);
  }

  async #run(outgoing: Outgoing, token: string | null, can: Abilities, signal: AbortSignal): Promise<void> {
    /** Unsuccessful attempts since the stream was last live. */
    let attempt = 0;
    let wasLive = false;
    /** Why WebRTC was left, for as long as the other way has not worked either. */
    let leftFor: Failure | null = null;
    let via = this.#via ?? 'webrtc';
    while (!signal.aborted) {
      const outcome = await this.#attempt(this.#make(via, outgoing, token), signal, () => {
        wasLive = true;
        leftFor = null;
        attempt = 0;
      });
      if (signal.aborted) return;
      // It stays with WebM from its first attempt on, so that whatever was live by WebRTC was so all the time.
      const code = outcome.failure?.code ?? null;
      const next = nextVia({ via, wish: this.#wish, can, code, wasLiveByWebRtc: wasLive });
      if (next !== via) {
        via = next;
        leftFor = outcome.failure;
        this.#set('connecting', null);
        this.#take(via, leftFor);
        continue;
      }
      const failure = failureToShow(outcome.failure, leftFor);
      if (outcome.verdict === 'give-up' || (!wasLive && !outcome.again)) {
        this.stop(failure);
        return;
      }
      this.#set('reconnecting', failure);
      await pause(Math.max(outcome.waitMs, backoffMs(attempt++, Math.random())), signal);
    }
  }

  /** One session from beginning to end. */
  async #attempt(session: Sending, signal: AbortSignal, onLive: () => void): Promise<Outcome> {
    this.#session = session;
    const lost = new Promise<Error | null>((resolve) => {
      session.onLost = resolve;
      signal.addEventListener('abort', () => resolve(null));
    });
    try {
      await session.open(signal);
    } catch (error) {
      return this.#judge(error);
    }
    if (session.refused.length > 0) this.#events.onRefusedKinds(session.refused);
    onLive();
    session.onTrouble = (troubled) => {
      if (!signal.aborted) this.#set(troubled ? 'reconnecting' : 'live', null);
    };
    this.#set('live', null);
    const why = await lost;
    if (signal.aborted) return { verdict: 'give-up', failure: null, waitMs: 0, again: false };
    if (why !== null) return this.#judge(why);
    this.#set('reconnecting', null);
    if ((await session.close(false)) && (await this.#someoneElseIsLive(signal))) {
      return { verdict: 'give-up', failure: takenOver(this.#stream), waitMs: 0, again: false };
    }
    return { verdict: 'retry', failure: null, waitMs: 0, again: true };
  }

  /**
   * Our session is gone and deleted, so a stream that is live has another publisher. Without this check two pages
   * would take the stream from each other for ever.
   */
  async #someoneElseIsLive(signal: AbortSignal): Promise<boolean> {
    for (let check = 0; check < TAKEOVER_CHECKS; check++) {
      if (check > 0) await pause(TAKEOVER_CHECK_MS, signal);
      try {
        const response = await fetch(paths.api(this.#stream), { signal });
        if (!response.ok) return false;
        const { state } = (await response.json()) as { state?: unknown };
        if (state !== 'live') return false;
      } catch {
        return false;
      }
    }
    return true;
  }

  #judge(error: unknown): Outcome {
    const retry = (failure: Failure, waitMs = 0, again = false): Outcome => ({
      verdict: 'retry',
      failure,
      waitMs,
      again,
    });
    const giveUp = (failure: Failure): Outcome => ({ verdict: 'give-up', failure, waitMs: 0, again: false });
    if (error instanceof SessionRefused) {
      const { status, title, detail } = error.problem;
      const failure = serverRefused(status, title, detail);
      return isPassing(status)
        ? retry(failure, error.retryAfterMs ?? 0, error.retryAfterMs !== null)
        : giveUp(failure);
    }
    if (error instanceof TakenOver) return giveUp(takenOver(this.#stream));
    if (error instanceof SocketFailed) return retry(socketFailed());
    if (error instanceof RecorderFailed) return giveUp(recorderFailed(error.message));
    if (error instanceof ServerUnreachable) return retry(serverUnreachable(window.location.origin));
    if (error instanceof AnswerNonsense) return giveUp(badAnswer(error.message));
    if (error instanceof CodecMissing) return giveUp(codecMissing(codecName(error.message)));
    if (error instanceof HandshakeFailed) return retry(handshakeFailed());
    if (error instanceof IceFailed) return retry(iceFailed(window.location.hostname, error.addresses));
    return giveUp(badAnswer(error instanceof Error ? error.message : String(error)));
  }
}

interface Outcome {
  verdict: 'retry' | 'give-up';
  failure: Failure | null;
  /** At least this long before the next attempt. */
  waitMs: number;
  /** Try again even when the stream has never been live. */
  again: boolean;
}

/** Resolves after a time, or at once when aborted. */
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
