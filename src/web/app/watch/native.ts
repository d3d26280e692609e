/** HLS as the browser itself plays it: iPhones, and Safari, where it also feeds AirPlay and picture in picture. */

import { type Moment, type PlayableWindow, placeOf } from '../pure/timeline.ts';
import type { PathEvents, PathStats, PlaybackPath } from './path.ts';

/** `HTMLMediaElement.getStartDate` (HTML standard; Safari only): the program date and time of position 0. */
interface WithStartDate {
  getStartDate?: () => Date;
}

/** Safari begins about so far behind the end of what it calls seekable, in seconds. */
const TARGET_S = 4;

export class NativePath implements PlaybackPath {
  readonly name = 'native-hls';
  readonly #url: string;
  #video: HTMLVideoElement | null = null;
  #listening = new AbortController();

  constructor(url: string) {
    this.#url = url;
  }

  async start(video: HTMLVideoElement, events: PathEvents, from: Moment | null): Promise<void> {
    this.#video = video;
    const { signal } = this.#listening;
    video.addEventListener(
      'error',
      () => {
        const code = video.error?.code;
        this.#listening.abort();
        events.onEnd(
          code === MediaError.MEDIA_ERR_SRC_NOT_SUPPORTED ? 'unusable' : 'broken',
          video.error?.message || `media error ${code ?? ''}`,
        );
      },
      { signal },
    );
    // What is seekable may be known a little later than the first picture.
    let placed = from === null;
    for (const event of ['loadedmetadata', 'durationchange', 'canplay', 'progress'] as const) {
      video.addEventListener(
        event,
        () => {
          const window = this.window();
          if (placed || from === null || window === null) return;
          placed = true;
          this.seekTo(placeOf(from, this.#positionOf(from.dateMs), window, performance.now()));
        },
        { signal },
      );
    }
    video.src = this.#url;
    video.load();
  }

  stop(_leaving: boolean): void {
    this.#listening.abort();
    this.#video?.removeAttribute('src');
    this.#video?.load();
    this.#video = null;
  }

  /** Programme date of position 0; null when the browser does not tell. */
  #startDateMs(): number | null {
    const video = this.#video as (HTMLVideoElement & WithStartDate) | null;
    const start = video?.getStartDate?.().getTime() ?? Number.NaN;
    return Number.isNaN(start) ? null : start;
  }

  #positionOf(dateMs: number | null): number | null {
    const startMs = this.#startDateMs();
    return startMs === null || dateMs === null ? null : (dateMs - startMs) / 1000;
  }

  window(): PlayableWindow | null {
    const video = this.#video;
    if (video === null || video.seekable.length === 0) return null;
    const { seekable, currentTime } = video;
    const [begin, edge] = [seekable.start(0), seekable.end(seekable.length - 1)];
    // A browser without live seeking says Infinity or nothing.
    if (!Number.isFinite(edge) || edge <= begin) return null;
    return { begin, edge, position: currentTime, target: TARGET_S };
  }

  seekTo(position: number): void {
    if (this.#video !== null) this.#video.currentTime = position;
  }

  dateMs(): number | null {
    const startMs = this.#startDateMs();
    return startMs === null || this.#video === null ? null : startMs + this.#video.currentTime * 1000;
  }

  latencySeconds(): number | null {
    const video = this.#video;
    const dateMs = this.dateMs();
    if (video === null) return null;
    if (dateMs !== null) return (Date.now() - dateMs) / 1000;
    const { seekable } = video;
    return seekable.length > 0 ? seekable.end(seekable.length - 1) - video.currentTime : null;
  }

  seekToLive(): void {
    const video = this.#video;
    if (video !== null && video.seekable.length > 0) {
      video.currentTime = video.seekable.end(video.seekable.length - 1);
    }
  }

  stats(): PathStats {
    return {
      label: 'HLS, by the browser',
      bitrateBps: null,
      renditions: 0,
      codecs: [],
      receive: null,
      viewers: null,
    };
  }
}
