/** Does the media advance? */

import type { PlaybackPath } from './path.ts';

export interface Advance {
  /** For how long nothing has advanced. */
  quietMs: number;
  /** Has it ever? */
  played: boolean;
}

export class Progress {
  readonly #video: HTMLVideoElement;
  readonly #path: PlaybackPath;
  #position: number;
  #sinceMs: number;
  #played = false;

  constructor(video: HTMLVideoElement, path: PlaybackPath) {
    this.#video = video;
    this.#path = path;
    this.#position = this.#read();
    this.#sinceMs = performance.now();
  }

  #read(): number {
    return this.#path.progress?.() ?? this.#video.currentTime;
  }

  /** Quiet until now was nobody's fault. */
  excuse(nowMs: number): void {
    this.#sinceMs = nowMs;
    this.#position = this.#read();
  }

  look(nowMs: number): Advance {
    const position = this.#read();
    if (position === this.#position || !this.#shows()) {
      return { quietMs: nowMs - this.#sinceMs, played: this.#played };
    }
    // An element's first move may be the jump to the live edge and not a picture; a path's count is of what came.
    const jumped = this.#path.progress === undefined && position - this.#position >= 1;
    this.#played = this.#played || (position > this.#position && !jumped);
    this.excuse(nowMs);
    return { quietMs: 0, played: this.#played };
  }

  #shows(): boolean {
    const { paused, seeking, readyState } = this.#video;
    if (this.#path.progress !== undefined) return !paused;
    return !paused && !seeking && readyState >= HTMLMediaElement.HAVE_CURRENT_DATA;
  }
}
