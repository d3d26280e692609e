/**
 * A way for media to reach the `<video>` element. The player tries the paths in order (`pure/choose.ts`) and knows nothing
 * else about them.
 */

import type { PathName } from '../pure/choose.ts';
import type { Layer } from '../pure/layers.ts';
import type { ReceiveReadout } from '../pure/receive.ts';
import type { Moment, PlayableWindow } from '../pure/timeline.ts';

/** Why a path cannot go on. */
export type PathEnd =
  /** Nothing is on air (any more). */
  | 'offline'
  /** It broke; the same path from the start may work. */
  | 'broken'
  /** This browser or network will never make it work: try the next path. */
  | 'unusable'
  /** The stream wants a key; no path goes round that. */
  | 'refused';

/** What a path waits for without being broken. */
export type Waiting = 'publisher' | 'connection';

export interface PathEvents {
  /** Called at most once. */
  onEnd(end: PathEnd, reason: string): void;
}

export interface PathStats {
  /** The way in words: `WebRTC (UDP)`. */
  label: string;
  /** What comes in, or of the rendition that plays, as the playlist declares it; null when not known. */
  bitrateBps: number | null;
  renditions: number;
  /** As the path names them: MIME types or RFC 6381 strings. */
  codecs: string[];
  /** Only of a WebRTC connection. */
  receive: ReceiveReadout | null;
  /** Of the stream by any path, when the path is told. */
  viewers: number | null;
}

export interface PlaybackPath {
  readonly name: PathName;
  /**
   * Attaches to the element; resolves when it can be told to play. Ends are reported by `onEnd`.
   *
   * @param from where to begin in the past; null is live. Only paths with a window know what to do with it.
   */
  start(video: HTMLVideoElement, events: PathEvents, from: Moment | null): Promise<void>;
  /**
   * Detaches; no event follows.
   *
   * @param leaving the page is going away
   */
  stop(leaving: boolean): void;
  /** Rises while media comes; without it, the element's own position tells. */
  progress?(): number;
  /** Nothing comes, and starting again would not change that. */
  waiting?(): Waiting | null;
  /** How far the picture is behind what is sent, in seconds; null when not known. */
  latencySeconds(): number | null;
  /** Jumps to the newest picture, and stays near it from then on. */
  seekToLive(): void;
  /** What can be played, where a path can go back; null while that is not known. */
  window?(): PlayableWindow | null;
  /** Goes there, and stays as far behind live as that is. */
  seekTo?(position: number): void;
  /** Programme date and time of what is shown; null when there is none. */
  dateMs?(): number | null;
  stats(): PathStats;
  /** What the viewer may choose from; empty when there is no choice. */
  layers?(): readonly Layer[];
  /** Null lets the server choose. Rejects with words when it cannot be had. */
  chooseLayer?(layer: Layer | null): Promise<void>;
}
