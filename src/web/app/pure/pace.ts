/**
 * How fast to play, so that the picture stays as far behind the camera as the server recommends.
 *
 * hls.js catches up only with more than a second in its buffer, which a player at 0.6 s behind the live edge never has: what it loses
 * at its start or by a stall it would never get back.
 */

/** Where a player is, in seconds. */
export interface Place {
  /** Behind the live edge. */
  behind: number;
  /** How far behind it should be. */
  target: number;
  /** Buffered, not yet played. */
  ahead: number;
}

/** What to do now. */
export type Step = { rate: number } | 'jump';

/** So far from the target nobody would wait for it to be caught up. */
const JUMP_S = 5;
/** Jumping again sooner would not help a way that is too slow. */
const JUMP_INTERVAL_MS = 10_000;
/** Catching up begins, and ends, so far behind the target: between them the rate does not flutter. */
const BEGIN_S = 0.1;
const END_S = 0.02;
/** With less than this in the buffer, playing faster would run it dry. */
const KEEP_S = 0.3;
/** The pitch is kept, so only the tempo tells. */
const MAX_GAIN = 0.08;
const MIN_GAIN = 0.02;

export class Pace {
  #catchingUp = false;
  #jumpedMs = Number.NEGATIVE_INFINITY;

  next({ behind, target, ahead }: Place, nowMs: number): Step {
    const late = behind - target;
    if (late > JUMP_S && nowMs - this.#jumpedMs > JUMP_INTERVAL_MS) {
      this.#jumpedMs = nowMs;
      this.#catchingUp = false;
      return 'jump';
    }
    this.#catchingUp = ahead > KEEP_S && late > (this.#catchingUp ? END_S : BEGIN_S);
    if (!this.#catchingUp) return { rate: 1 };
    // In steps, because each change of the rate costs the sound's resampler a beginning.
    const gain = Math.ceil(late * 0.2 * 50) / 50;
    return { rate: 1 + Math.min(MAX_GAIN, Math.max(MIN_GAIN, gain)) };
  }
}
