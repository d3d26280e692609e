/**
 * MediaRecorders, one after the other. One of them can change neither its tracks nor its bitrate, so that every change is
 * the end of one and the beginning of the next, with a header of its own.
 */

/** Short, as every chunk waits for its end: this is a part of the delay. */
const TIMESLICE_MS = 200;

/** The server can begin a segment, and a viewer watching, at keyframes only. */
const KEYFRAME_INTERVAL_MS = 2_000;

/** Chromium knows it; the DOM library does not, and other browsers go their own pace. */
type RecorderOptions = MediaRecorderOptions & { videoKeyFrameIntervalDuration: number };

export interface Recipe {
  tracks: MediaStreamTrack[];
  mimeType: string;
  /** 0 with sound alone. */
  videoBps: number;
  audioBps: number;
}

export class Recorder {
  onChunk: (chunk: Blob) => void = () => {};
  /** It stopped without being told to: its tracks have ended, or it failed. */
  onEnded: (error: string | null) => void = () => {};

  #current: MediaRecorder | null = null;
  #stopped: Promise<void> = Promise.resolve();

  /** With codecs as the browser names them, once something runs. */
  get mimeType(): string | null {
    return this.#current?.mimeType ?? null;
  }

  /** Throws what the browser throws about a recipe that it cannot follow. The one before must have stopped. */
  start({ tracks, mimeType, videoBps, audioBps }: Recipe): void {
    const options: RecorderOptions = {
      mimeType,
      ...(videoBps > 0 ? { videoBitsPerSecond: videoBps } : {}),
      audioBitsPerSecond: audioBps,
      videoKeyFrameIntervalDuration: KEYFRAME_INTERVAL_MS,
    };
    const recorder = new MediaRecorder(new MediaStream(tracks), options);
    let error: string | null = null;
    recorder.addEventListener('dataavailable', ({ data }) => {
      if (data.size > 0) this.onChunk(data);
    });
    recorder.addEventListener('error', (event) => {
      error = (event as Event & { error?: DOMException }).error?.message || 'The recorder failed.';
    });
    this.#stopped = new Promise((resolve) => {
      recorder.addEventListener('stop', () => {
        resolve();
        if (this.#current !== recorder) return;
        this.#current = null;
        this.onEnded(error);
      });
    });
    recorder.start(TIMESLICE_MS);
    this.#current = recorder;
  }

  /** Resolves when the last chunk has been handed over. */
  stop(): Promise<void> {
    const recorder = this.#current;
    this.#current = null;
    // One whose tracks have just ended is inactive already; its last chunk and `stop` still come.
    if (recorder !== null && recorder.state !== 'inactive') recorder.stop();
    return this.#stopped;
  }
}
