/**
 * Whether the way carries what a recorder makes, and at which bitrate it should. Time is an input.
 *
 * A recorder cannot be slowed down: what the way does not take waits in the socket, and all that follows gets later by as
 * much. So when too much waits the recorder is stopped, what waits may leave, and a new one begins, with less.
 *
 * After every `handle..` the caller asks `pollAction` until it is null.
 */

/** More than this waiting is too much. */
const TOO_MUCH_MS = 3_000;
/** With less than this waiting a new recorder may begin. */
const LITTLE_MS = 500;
/** While nothing of what waits leaves for this long, the connection is dead, whatever the browser thinks of it. */
const DEAD_MS = 10_000;
const STEP_DOWN = 0.7;
const STEP_UP = 1.2;
const FLOOR_BPS = 150_000;
/** Without trouble for so long, more is tried. */
const QUIET_MS = 60_000;
/** When trying more has failed again and again, it is tried this seldom. */
const LONGEST_QUIET_MS = 16 * QUIET_MS;

export type PaceAction =
  /** End the recorder, so that what waits can leave. */
  | 'stop'
  /** Begin a new one, at `videoBps`. */
  | 'start'
  /** End the recorder and begin a new one at once, at `videoBps`. */
  | 'renew'
  | 'give-up';

/** Chunks come about this often at the least; in a longer gap nothing was recorded, as between two recorders. */
const LONGEST_SLICE_MS = 500;

/** A chunk that was handed over: until here, so much has been recorded since the beginning. */
interface Mark {
  recordedMs: number;
  total: number;
}

export class RecorderPace {
  readonly #fullBps: number;
  #videoBps: number;
  /** Chunks of which something may still wait, oldest first. */
  #marks: Mark[] = [];
  #total = 0;
  #recordedMs = 0;
  #chunkAtMs: number;
  #sent = 0;
  #progressAtMs: number;
  #draining = false;
  /** The server did not read because it had enough: too much waiting is then not the network's fault. */
  #heldByServer = false;
  #held = false;
  #quietSinceMs: number;
  #quietMs = QUIET_MS;
  #raised = false;
  #action: PaceAction | null = null;

  /** @param fullBps for the picture; 0 with sound alone, which has nothing to save */
  constructor(fullBps: number, nowMs: number) {
    this.#fullBps = fullBps;
    this.#videoBps = fullBps;
    this.#quietSinceMs = nowMs;
    this.#progressAtMs = nowMs;
    this.#chunkAtMs = nowMs;
  }

  /** For the next recorder. */
  get videoBps(): number {
    return Math.round(this.#videoBps);
  }

  get draining(): boolean {
    return this.#draining;
  }

  /** Is the picture worse than asked for, because of the way? */
  get limited(): boolean {
    return this.#draining || this.#videoBps < this.#fullBps;
  }

  /** Bytes that have left. */
  get sent(): number {
    return this.#sent;
  }

  /** How much waits, in time of the recording. */
  get waitingMs(): number {
    const first = this.#marks[0];
    const last = this.#marks.at(-1);
    return first === undefined || last === undefined ? 0 : last.recordedMs - first.recordedMs;
  }

  handleChunk(bytes: number, nowMs: number): void {
    if (this.#marks.length === 0) this.#progressAtMs = nowMs;
    this.#total += bytes;
    this.#recordedMs += Math.min(LONGEST_SLICE_MS, nowMs - this.#chunkAtMs);
    this.#chunkAtMs = nowMs;
    this.#marks.push({ recordedMs: this.#recordedMs, total: this.#total });
  }

  handleFlow(paused: boolean): void {
    this.#held = paused;
    if (paused) this.#heldByServer = true;
  }

  /** @param waitingBytes `bufferedAmount` */
  handleBuffered(waitingBytes: number, nowMs: number): void {
    const sent = Math.max(this.#sent, this.#total - waitingBytes);
    if (sent > this.#sent || waitingBytes === 0 || this.#held) this.#progressAtMs = nowMs;
    this.#sent = sent;
    while ((this.#marks[0]?.total ?? Number.POSITIVE_INFINITY) <= sent) this.#marks.shift();
    if (nowMs - this.#progressAtMs >= DEAD_MS) this.#action = 'give-up';
    else if (this.#draining) this.#drain(nowMs);
    else if (this.waitingMs > TOO_MUCH_MS) this.#stop(nowMs);
    else if (nowMs - this.#quietSinceMs >= this.#quietMs) this.#tryMore(nowMs);
    if (!this.#held && !this.#draining && this.waitingMs < LITTLE_MS) this.#heldByServer = false;
  }

  pollAction(): PaceAction | null {
    const action = this.#action;
    this.#action = null;
    return action;
  }

  #stop(nowMs: number): void {
    this.#draining = true;
    this.#action = 'stop';
    this.#quietSinceMs = nowMs;
    if (this.#heldByServer) return;
    // More was tried and was too much: wait longer before the next time.
    if (this.#raised) this.#quietMs = Math.min(LONGEST_QUIET_MS, this.#quietMs * 2);
    this.#raised = false;
    const least = Math.min(FLOOR_BPS, this.#fullBps);
    this.#videoBps = Math.max(least, this.#videoBps * STEP_DOWN);
  }

  #drain(nowMs: number): void {
    if (this.waitingMs >= LITTLE_MS) return;
    this.#draining = false;
    this.#heldByServer = this.#held;
    this.#quietSinceMs = nowMs;
    this.#action = 'start';
  }

  #tryMore(nowMs: number): void {
    this.#quietSinceMs = nowMs;
    if (this.#videoBps >= this.#fullBps) {
      this.#quietMs = QUIET_MS;
      this.#raised = false;
      return;
    }
    this.#videoBps = Math.min(this.#fullBps, this.#videoBps * STEP_UP);
    this.#raised = true;
    this.#action = 'renew';
  }
}
