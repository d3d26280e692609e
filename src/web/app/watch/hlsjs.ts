/** HLS through Media Source Extensions, by hls.js. */

import Hls, { type ErrorData, type HlsConfig, type LevelDetails } from 'hls.js';
import { Pace } from '../pure/pace.ts';
import { type Moment, type PlayableWindow, placeOf, positionOfDate } from '../pure/timeline.ts';
import type { PathEnd, PathEvents, PathStats, PlaybackPath } from './path.ts';

/** hls.js has retried by itself before an error is fatal; this many more rounds on top. */
const NETWORK_RESTARTS = 3;
/** Two media errors within this time are not an accident. */
const MEDIA_ERROR_WINDOW_MS = 8_000;

const CONFIG: Partial<HlsConfig> = {
  lowLatencyMode: true,
  liveDurationInfinity: true,
  // Segments are fMP4 and need no transmuxing, so a worker would only add copies.
  enableWorker: false,
  // `Pace` catches up instead.
  maxLiveSyncPlaybackRate: 1,
  // A stall makes it aim for this much more delay, in seconds: a part, not the whole second of the default.
  liveSyncOnStallIncrease: 0.2,
  backBufferLength: 60,
};

export function hlsjsIsSupported(): boolean {
  return Hls.isSupported();
}

export class HlsjsPath implements PlaybackPath {
  readonly name = 'hls.js';
  readonly #url: string;
  #hls: Hls | null = null;
  #video: HTMLVideoElement | null = null;
  #events: PathEvents | null = null;
  readonly #pace = new Pace();
  readonly #keepPace = (): void => this.#step();
  /** The viewer has gone back: nothing pulls to the live edge. */
  #past = false;
  #networkRestarts = 0;
  #lastMediaErrorMs = Number.NEGATIVE_INFINITY;

  constructor(url: string) {
    this.#url = url;
  }

  /** For tests and debugging. */
  get hls(): Hls | null {
    return this.#hls;
  }

  async start(video: HTMLVideoElement, events: PathEvents, from: Moment | null): Promise<void> {
    const hls = new Hls(CONFIG);
    this.#hls = hls;
    this.#video = video;
    this.#events = events;
    hls.on(Hls.Events.ERROR, (_, data) => this.#onError(data));
    hls.on(Hls.Events.FRAG_BUFFERED, () => {
      this.#networkRestarts = 0;
    });
    video.addEventListener('timeupdate', this.#keepPace);
    hls.loadSource(this.#url);
    if (from !== null) await this.#beginAt(hls, from);
    // It may have been stopped meanwhile.
    if (this.#hls === hls) hls.attachMedia(video);
  }

  stop(_leaving: boolean): void {
    this.#events = null;
    this.#hls?.destroy();
    this.#hls = null;
    this.#video?.removeEventListener('timeupdate', this.#keepPace);
    if (this.#video !== null) this.#video.playbackRate = 1;
  }

  latencySeconds(): number | null {
    const latency = this.#hls?.latency ?? 0;
    return latency > 0 ? latency : null;
  }

  /**
   * Positions are counted from the first playlist, so only that tells which one is meant. Until then nothing is attached, because hls.js
   * would begin with segments of the live edge, and does not always recover from taking them back.
   */
  #beginAt(hls: Hls, from: Moment): Promise<void> {
    this.#past = true;
    return new Promise((resolve) => {
      hls.once(Hls.Events.LEVEL_LOADED, (_, { details }) => {
        const window = windowOf(details, 0, hls.targetLatency);
        hls.startLoad(placeOf(from, dated(details, from.dateMs), window, performance.now()));
        resolve();
      });
    });
  }

  window(): PlayableWindow | null {
    const details = this.#hls?.latestLevelDetails;
    const video = this.#video;
    if (!this.#hls || !details || video === null || video.readyState === HTMLMediaElement.HAVE_NOTHING) {
      return null;
    }
    return windowOf(details, video.currentTime, this.#hls.targetLatency);
  }

  seekTo(position: number): void {
    if (this.#video === null) return;
    this.#past = true;
    this.#video.playbackRate = 1;
    this.#video.currentTime = position;
  }

  dateMs(): number | null {
    return this.#hls?.playingDate?.getTime() ?? null;
  }

  seekToLive(): void {
    this.#past = false;
    const position = this.#hls?.liveSyncPosition;
    if (this.#video !== null && typeof position === 'number') this.#video.currentTime = position;
  }

  stats(): PathStats {
    const hls = this.#hls;
    const level =
      hls === null ? undefined : hls.levels[hls.currentLevel >= 0 ? hls.currentLevel : hls.loadLevel];
    const parts = hls?.latestLevelDetails?.partTarget ?? 0;
    const codecs = [level?.videoCodec, level?.audioCodec];
    return {
      label: parts > 0 ? 'Low-latency HLS' : 'HLS',
      bitrateBps: level?.averageBitrate || level?.bitrate || null,
      renditions: hls?.levels.length ?? 0,
      codecs: codecs.filter((codec): codec is string => codec !== undefined && codec !== ''),
      receive: null,
      viewers: null,
    };
  }

  #step(): void {
    const hls = this.#hls;
    const video = this.#video;
    const details = hls?.latestLevelDetails;
    if (this.#past || hls === null || video === null || !details?.live || !details.partTarget || !hls.latency)
      return;
    const { buffered, currentTime } = video;
    const ahead = buffered.length > 0 ? buffered.end(buffered.length - 1) - currentTime : 0;
    const place = { behind: hls.latency, target: hls.targetLatency ?? 0, ahead };
    const step = this.#pace.next(place, performance.now());
    if (step === 'jump') this.seekToLive();
    else if (video.playbackRate !== step.rate) video.playbackRate = step.rate;
  }

  #end(end: PathEnd, reason: string): void {
    const events = this.#events;
    this.#events = null;
    events?.onEnd(end, reason);
  }

  #onError(data: ErrorData): void {
    const hls = this.#hls;
    if (hls === null || !data.fatal) return;
    const reason = `${data.details}${data.response?.code ? ` (${data.response.code})` : ''}`;
    if (data.type === Hls.ErrorTypes.NETWORK_ERROR) {
      if (data.response?.code === 401 || data.response?.code === 403) {
        this.#end('refused', `The server does not let this player in (${data.response.code})`);
      } else if (data.response?.code === 404 || data.response?.code === 410) {
        // A playlist that is gone is the end; a segment that is gone means that we were too slow.
        this.#end(isSegment(data) ? 'broken' : 'offline', reason);
      } else if (this.#networkRestarts++ < NETWORK_RESTARTS && !isManifest(data)) {
        hls.startLoad();
      } else {
        this.#end('broken', reason);
      }
    } else if (data.type === Hls.ErrorTypes.MEDIA_ERROR) {
      if (data.details === Hls.ErrorDetails.MANIFEST_INCOMPATIBLE_CODECS_ERROR) {
        this.#end('unusable', reason);
        return;
      }
      const nowMs = performance.now();
      if (nowMs - this.#lastMediaErrorMs > MEDIA_ERROR_WINDOW_MS) {
        this.#lastMediaErrorMs = nowMs;
        hls.recoverMediaError();
        // The new source begins paused (HTML standard, media element load algorithm).
        this.#video?.play().catch(() => {
          // No sound without a touch: the bar's play button is there.
        });
      } else {
        this.#end('broken', reason);
      }
    } else {
      this.#end('broken', reason);
    }
  }
}

function windowOf(details: LevelDetails, position: number, target: number | null): PlayableWindow {
  const edge = details.edge + (details.live ? details.age : 0);
  return { begin: details.fragmentStart, edge, position, target: target ?? 0 };
}

function dated({ fragments }: LevelDetails, dateMs: number | null): number | null {
  if (dateMs === null) return null;
  const segments = fragments.flatMap(({ start, duration, programDateTime }) =>
    typeof programDateTime === 'number' ? [{ start, duration, dateMs: programDateTime }] : [],
  );
  return positionOfDate(segments, dateMs);
}

function isSegment(data: ErrorData): boolean {
  return data.frag !== undefined;
}

/** Without a manifest there is nothing that `startLoad` could go on with. */
function isManifest(data: ErrorData): boolean {
  return data.details.startsWith('manifest');
}
