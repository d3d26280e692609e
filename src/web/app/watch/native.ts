/** HLS as the browser itself plays it: iPhones, and Safari, where it also feeds AirPlay and picture in picture. */

import type { PathEvents, PathStats, PlaybackPath } from './path.ts';

/** `HTMLMediaElement.getStartDate` (HTML standard; Safari only): the program date and time of position 0. */
interface WithStartDate {
  getStartDate?: () => Date;
}

export class NativePath implements PlaybackPath {
  readonly name = 'native-hls';
  readonly #url: string;
  #video: HTMLVideoElement | null = null;
  #listening = new AbortController();

  constructor(url: string) {
    this.#url = url;
  }

  async start(video: HTMLVideoElement, events: PathEvents): Promise<void> {
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
    video.src = this.#url;
    video.load();
  }

  stop(_leaving: boolean): void {
    this.#listening.abort();
    this.#video?.removeAttribute('src');
    this.#video?.load();
    this.#video = null;
  }

  latencySeconds(): number | null {
    const video = this.#video as (HTMLVideoElement & WithStartDate) | null;
    if (video === null) return null;
    const start = video.getStartDate?.().getTime() ?? Number.NaN;
    if (!Number.isNaN(start)) return Date.now() / 1000 - (start / 1000 + video.currentTime);
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
