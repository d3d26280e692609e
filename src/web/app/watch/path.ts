/**
 * A way for media to reach the `<video>` element. The player tries the paths in order and knows nothing else about
 * them; WHEP is another implementation, put before HLS in `paths.ts`.
 */

/** Why a path cannot go on. */
export type PathEnd =
  /** Nothing is on air (any more). */
  | 'offline'
  /** It broke; the same path from the start may work. */
  | 'broken'
  /** This browser or network will never make it work: try the next path. */
  | 'unusable';

export interface PathEvents {
  /** Called at most once. */
  onEnd(end: PathEnd, reason: string): void;
}

export interface PathStats {
  /** Of the rendition that plays, as the playlist declares it; null when not known. */
  bitrateBps: number | null;
  renditions: number;
}

export interface PlaybackPath {
  readonly name: 'whep' | 'hls.js' | 'native-hls';
  /** Attaches to the element. Ends are reported by `onEnd`. */
  start(video: HTMLVideoElement, events: PathEvents): Promise<void>;
  /** Detaches; no event follows. */
  stop(): void;
  /** How far the picture is behind what is sent, in seconds; null when not known. */
  latencySeconds(): number | null;
  /** Jumps to the newest picture. */
  seekToLive(): void;
  stats(): PathStats;
}
