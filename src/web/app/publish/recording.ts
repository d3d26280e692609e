/** One broadcast as WebM over a WebSocket, for networks and browsers without WebRTC: MediaRecorder makes it. */

import { kindsNotTaken } from '../pure/ingestnotes.ts';
import { recordedCodecs, recorderType } from '../pure/recordercodecs.ts';
import { RecorderPace } from '../pure/recorderpace.ts';
import { audioBitrateBps, maxVideoBitrateBps } from '../pure/settings.ts';
import { readRecordedStats, type SendReadout } from '../pure/stats.ts';
import { IngestSocket, SocketFailed } from './ingestsocket.ts';
import { Recorder } from './recorder.ts';
import { CodecMissing, type Outgoing, type Sending } from './sending.ts';

/** From the first chunk to the server's word that the stream is fed. It gives up before (after 10 s, if not configured) and says why. */
const BEGIN_DEADLINE_MS = 20_000;

/** How often the queue is looked at, beside after every chunk. */
const LOOK_MS = 200;

/** A choice of devices may change both tracks, one after the other: one new recorder for both. */
const REPLACE_MS = 100;

/** The last chunk comes within milliseconds, or never. */
const LAST_CHUNK_MS = 1_000;

/** A recorder that ends by itself is made again, unless so many in a row have lived shorter than this. */
const FRUITLESS = 3;
const SHORT_LIFE_MS = 5_000;

/** The browser's recorder does not do what it said it could. */
export class RecorderFailed extends Error {}

export function isRecordable(type: string): boolean {
  return (
    typeof WebSocket !== 'undefined' &&
    typeof MediaRecorder !== 'undefined' &&
    MediaRecorder.isTypeSupported(type)
  );
}

/** Can this be sent as WebM by this browser? */
export function canRecord({ video, audio, settings }: Outgoing): boolean {
  return typeFor(video, audio, settings.video) !== null;
}

function typeFor(
  video: MediaStreamTrack | null,
  audio: MediaStreamTrack | null,
  codec: Outgoing['settings']['video'],
): string | null {
  return recorderType({ video: video === null ? 'off' : codec, audio: audio !== null }, isRecordable);
}

export class Recording implements Sending {
  onLost: (why: Error | null) => void = () => {};
  onTrouble: (troubled: boolean) => void = () => {};
  refused: string[] = [];

  readonly #endpoint: URL;
  readonly #token: string | null;
  readonly #outgoing: Outgoing;
  readonly #over = new AbortController();
  readonly #recorder = new Recorder();
  readonly #pace: RecorderPace;
  #video: MediaStreamTrack | null;
  #audio: MediaStreamTrack | null;
  #socket: IngestSocket | null = null;
  /** Recorders end and begin one after the other. */
  #work: Promise<void> = Promise.resolve();
  #timer: number | undefined;
  #replaceTimer: number | undefined;
  #fruitless = 0;
  #startedAtMs = 0;
  #mimeType = '';
  #readout: SendReadout | null = null;

  constructor(endpoint: URL, token: string | null, outgoing: Outgoing) {
    this.#endpoint = endpoint;
    this.#token = token;
    this.#outgoing = outgoing;
    const { settings } = outgoing;
    this.#video = settings.video === 'off' ? null : outgoing.video;
    this.#audio = outgoing.audio;
    const fullBps =
      settings.video === 'off' || outgoing.video === null
        ? 0
        : maxVideoBitrateBps(settings.resolution, settings.fps, settings.video);
    this.#pace = new RecorderPace(fullBps, performance.now());
  }

  get location(): string | null {
    return this.#socket?.location ?? null;
  }

  /** Resolves when the server feeds the stream. Throws an error of this module, of `ingestsocket.ts` or `webrtc/session.ts`. */
  async open(signal: AbortSignal): Promise<void> {
    try {
      const { settings } = this.#outgoing;
      const type = typeFor(this.#video, this.#audio, settings.video);
      if (type === null) throw new CodecMissing(settings.video);
      this.#mimeType = type;
      this.#socket = await IngestSocket.open(this.#endpoint, this.#token, signal);
      signal.throwIfAborted();
      await this.#begun(this.#socket, signal);
    } catch (error) {
      void this.close(false);
      throw error;
    }
  }

  /** Starts to record and to send; resolves with the server's word that the stream is fed. */
  #begun(socket: IngestSocket, signal: AbortSignal): Promise<void> {
    const sent = [...(this.#video ? ['video'] : []), ...(this.#audio ? ['audio'] : [])];
    return new Promise((resolve, reject) => {
      const timer = window.setTimeout(() => reject(new SocketFailed()), BEGIN_DEADLINE_MS);
      const { signal: over } = this.#over;
      over.addEventListener('abort', () => {
        window.clearTimeout(timer);
        reject(signal.reason);
      });
      signal.addEventListener('abort', () => reject(signal.reason), { signal: over });
      let begun = false;
      socket.onClosed = (why) => {
        if (!begun) reject(why);
        // Without a word of the server the network is gone, and there is nothing to explain.
        else this.#lose(why instanceof SocketFailed ? null : why);
      };
      socket.onNote = (note) => {
        if (note.type === 'flow') this.#pace.handleFlow(note.paused);
        // Every new recorder begins anew; the first one decides.
        if (note.type !== 'begin' || begun) return;
        begun = true;
        window.clearTimeout(timer);
        this.refused = kindsNotTaken(sent, note.tracks);
        resolve();
      };
      this.#recorder.onChunk = (chunk) => {
        this.#pace.handleChunk(chunk.size, performance.now());
        socket.send(chunk);
        this.#look();
      };
      this.#recorder.onEnded = (error) => {
        const why = this.#again(error);
        if (why === null) return;
        if (begun) this.#lose(why);
        else reject(why);
      };
      try {
        this.#start();
      } catch (error) {
        reject(error);
        return;
      }
      this.#timer = window.setInterval(() => this.#look(), LOOK_MS);
    });
  }

  /** Throws `RecorderFailed`. */
  #start(): void {
    const tracks = [this.#video, this.#audio].filter((track) => track !== null);
    // The page replaces what has ended, or stops; a recorder of such tracks would end at once.
    if (tracks.some((track) => track.readyState === 'ended')) return;
    this.#startedAtMs = performance.now();
    try {
      this.#recorder.start({
        tracks,
        mimeType: this.#mimeType,
        videoBps: this.#pace.videoBps,
        audioBps: audioBitrateBps(this.#outgoing.stereo),
      });
    } catch (error) {
      throw new RecorderFailed(error instanceof Error ? error.message : String(error));
    }
  }

  /** A recorder has ended by itself: the next one, or the reason why there is none. */
  #again(error: string | null): RecorderFailed | null {
    if (this.#over.signal.aborted) return null;
    const livedMs = performance.now() - this.#startedAtMs;
    this.#fruitless = livedMs < SHORT_LIFE_MS ? this.#fruitless + 1 : 0;
    if (this.#fruitless >= FRUITLESS) return new RecorderFailed(error ?? 'The recorder ended by itself.');
    this.#renew();
    return null;
  }

  /** Ends the recorder; the next one begins, unless what waits has to leave first. */
  #renew(): void {
    this.#work = this.#work.then(async () => {
      await this.#recorder.stop();
      if (this.#over.signal.aborted || this.#pace.draining) return;
      try {
        this.#start();
      } catch (error) {
        this.#lose(error instanceof Error ? error : new RecorderFailed(String(error)));
      }
    });
  }

  /** Does what the pace decided. */
  #look(): void {
    if (this.#socket === null || this.#over.signal.aborted) return;
    this.#pace.handleBuffered(this.#socket.waitingBytes, performance.now());
    for (let action = this.#pace.pollAction(); action !== null; action = this.#pace.pollAction()) {
      if (action === 'give-up') {
        this.#lose(null);
        return;
      }
      this.#renew();
      if (action === 'stop') this.onTrouble(true);
      else if (action === 'start') this.onTrouble(false);
    }
  }

  async replaceTrack(track: MediaStreamTrack): Promise<void> {
    if (track.kind === 'video') this.#video = track;
    else this.#audio = track;
    window.clearTimeout(this.#replaceTimer);
    this.#replaceTimer = window.setTimeout(() => this.#renew(), REPLACE_MS);
  }

  /** There is no ICE; a connection that is dead is noticed by what does not leave. */
  restartIce(): void {}

  async readout(): Promise<SendReadout> {
    const codecs = recordedCodecs(this.#recorder.mimeType ?? this.#mimeType);
    const state = {
      bytesSent: this.#pace.sent,
      picture: this.#picture(),
      limited: this.#pace.limited,
      videoCodec: codecs.video,
      audioCodec: codecs.audio,
    };
    this.#readout = readRecordedStats(state, performance.now(), this.#readout);
    return this.#readout;
  }

  #picture(): { width?: number; height?: number; frameRate?: number } | null {
    if (this.#video === null) return null;
    const { fps } = this.#outgoing.settings;
    const settings = this.#video.getSettings();
    // A canvas names the rate of the screen; a camera may give less than it was asked for.
    return { ...settings, frameRate: Math.min(fps, settings.frameRate ?? fps) };
  }

  #lose(why: Error | null): void {
    if (this.#over.signal.aborted) return;
    void this.close(true);
    this.onLost(why);
  }

  /** False: the server plays to its end what it has, and does not say when. */
  async close(leaving: boolean): Promise<boolean> {
    const socket = this.#socket;
    this.#socket = null;
    this.#over.abort();
    window.clearInterval(this.#timer);
    window.clearTimeout(this.#replaceTimer);
    const stopped = this.#recorder.stop();
    if (socket === null) return false;
    socket.onClosed = () => {};
    if (!leaving) await Promise.race([stopped, new Promise((resolve) => setTimeout(resolve, LAST_CHUNK_MS))]);
    socket.close();
    return false;
  }
}
