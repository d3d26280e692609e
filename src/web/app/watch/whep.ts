/** WebRTC, by WHEP: the lowest latency, and the first choice wherever the network lets it through. */

import { refusalEnd } from '../pure/choose.ts';
import { transportLabel } from '../pure/format.ts';
import type { Layer } from '../pure/layers.ts';
import { latencySeconds, ReceiveMeter, type ReceiveReadout } from '../pure/receive.ts';
import { acceptStereo } from '../pure/sdp.ts';
import { Peer } from '../webrtc/peer.ts';
import { SessionRefused } from '../webrtc/session.ts';
import { HandshakeFailed, IceFailed } from '../webrtc/waits.ts';
import type { PathEnd, PathEvents, PathStats, PlaybackPath, Waiting } from './path.ts';
import { ViewerEvents } from './viewerevents.ts';

/** From the answer to a connection, and from there to a picture: HLS would have one by then. */
const CONNECT_DEADLINE_MS = 4_000;
const FIRST_PICTURE_MS = 4_000;
const STATS_MS = 250;
/** Opus sends 50 packets a second even when it is quiet, and pictures come at least as often as this. */
const QUIET_MS = 1_000;
/** A server that does not say why nothing comes is believed for as long as a publisher's grace time usually is. */
const LONGEST_QUIET_MS = 60_000;

/** What a page can tell of the stream. */
export interface StreamKnowledge {
  /** Whether it has a picture; null when that is not known. */
  hasVideo(): Promise<boolean | null>;
  /** Whether its publisher is away and may return. */
  publisherIsAway(): boolean;
}

/** The stream has a picture, and this browser gets none of it. */
class NoCommonCodec extends Error {}

/** Both are hints for the jitter buffer: `jitterBufferTarget` in milliseconds (webrtc-extensions), the older one in seconds. */
type WithJitterBuffer = RTCRtpReceiver & {
  jitterBufferTarget?: number | null;
  playoutDelayHint?: number | null;
};

export class WhepPath implements PlaybackPath {
  readonly name = 'whep';
  readonly #token: string | null;
  readonly #knowledge: StreamKnowledge;
  readonly #peer: Peer;
  readonly #over = new AbortController();
  readonly #meter = new ReceiveMeter();
  #video: HTMLVideoElement | null = null;
  #events: PathEvents | null = null;
  #news: ViewerEvents | null = null;
  #readout: ReceiveReadout | null = null;
  #timer: number | undefined;
  #expectsPicture = false;
  #connectedMs = 0;
  /** When packets came last. */
  #flowMs = 0;

  constructor(endpoint: URL, token: string | null, knowledge: StreamKnowledge) {
    this.#token = token;
    this.#knowledge = knowledge;
    this.#peer = new Peer({
      endpoint,
      token,
      connectDeadlineMs: CONNECT_DEADLINE_MS,
      describe: acceptStereo,
    });
  }

  async start(video: HTMLVideoElement, events: PathEvents): Promise<void> {
    this.#video = video;
    this.#events = events;
    const { pc } = this.#peer;
    for (const kind of ['audio', 'video'] as const) pc.addTransceiver(kind, { direction: 'recvonly' });
    this.#peer.onLost = () => this.#end('broken', 'the connection was lost');
    try {
      await this.#peer.open(this.#over.signal, () => this.#attach(video));
    } catch (error) {
      if (!this.#over.signal.aborted) this.#fail(error);
      return;
    }
    this.#connectedMs = performance.now();
    this.#flowMs = this.#connectedMs;
    const { resource } = this.#peer;
    if (resource !== null) {
      this.#news = new ViewerEvents(resource, this.#token);
      void this.#news.open();
    }
    this.#look();
  }

  stop(leaving: boolean): void {
    this.#events = null;
    this.#over.abort();
    window.clearTimeout(this.#timer);
    this.#news?.close();
    void this.#peer.close(leaving);
    if (this.#video !== null) this.#video.srcObject = null;
    this.#video = null;
  }

  async #attach(video: HTMLVideoElement): Promise<void> {
    const receivers = this.#peer.pc
      .getTransceivers()
      .filter((transceiver) => transceiver.currentDirection === 'recvonly')
      .map((transceiver) => transceiver.receiver);
    this.#expectsPicture = receivers.some((receiver) => receiver.track.kind === 'video');
    // Sound without a picture is right only when there is no picture.
    if (!this.#expectsPicture && (await this.#knowledge.hasVideo()) !== false) throw new NoCommonCodec();
    for (const receiver of receivers) {
      const buffer: WithJitterBuffer = receiver;
      if ('jitterBufferTarget' in buffer) buffer.jitterBufferTarget = 0;
      else if ('playoutDelayHint' in buffer) (buffer as WithJitterBuffer).playoutDelayHint = 0;
    }
    // One stream, so that the browser keeps picture and sound together.
    if (!this.#over.signal.aborted)
      video.srcObject = new MediaStream(receivers.map((receiver) => receiver.track));
  }

  #fail(error: unknown): void {
    if (error instanceof SessionRefused) {
      const { status, title, detail } = error.problem;
      this.#end(refusalEnd(status), detail === '' ? title : `${title}: ${detail}`);
    } else if (error instanceof IceFailed) {
      const tried = error.addresses.slice(0, 4).join(', ');
      this.#end('unusable', tried === '' ? 'no media connection' : `no media connection to ${tried}`);
    } else if (error instanceof HandshakeFailed) {
      this.#end('unusable', 'the encrypted connection could not be set up');
    } else if (error instanceof NoCommonCodec) {
      this.#end('unusable', 'no codec in common');
    } else {
      this.#end('unusable', error instanceof Error ? error.message : String(error));
    }
  }

  #end(end: PathEnd, reason: string): void {
    const events = this.#events;
    this.#events = null;
    events?.onEnd(end, reason);
  }

  /** Looks at the connection now, and again and again. */
  #look(): void {
    const run = async (): Promise<void> => {
      try {
        const stats = await this.#peer.stats();
        this.#handleStats(this.#meter.handleStats(stats, performance.now()), performance.now());
      } catch {
        // The connection was closed meanwhile.
      }
      if (!this.#over.signal.aborted) this.#timer = window.setTimeout(() => void run(), STATS_MS);
    };
    void run();
  }

  #handleStats(readout: ReceiveReadout, nowMs: number): void {
    if (readout.packetsReceived !== this.#readout?.packetsReceived) this.#flowMs = nowMs;
    this.#readout = readout;
    const quietMs = nowMs - this.#flowMs;
    const away = this.#publisherIsAway() === true;
    if (this.progress() === 0 && nowMs - this.#connectedMs > FIRST_PICTURE_MS && !away) {
      this.#end('unusable', 'no picture came');
    } else if (quietMs > LONGEST_QUIET_MS && !away && !this.#peer.troubled) {
      this.#end('broken', 'nothing came');
    }
  }

  /** Null when nobody says. */
  #publisherIsAway(): boolean | null {
    const published = this.#news?.published ?? null;
    if (published !== null) return !published;
    return this.#knowledge.publisherIsAway() ? true : null;
  }

  progress(): number {
    if (this.#readout === null) return 0;
    return this.#expectsPicture ? this.#readout.framesDecoded : this.#readout.packetsReceived;
  }

  waiting(): Waiting | null {
    if (this.#peer.troubled) return 'connection';
    if (this.#connectedMs === 0 || performance.now() - this.#flowMs < QUIET_MS) return null;
    const away = this.#publisherIsAway();
    return away === true || (away === null && this.progress() > 0) ? 'publisher' : null;
  }

  latencySeconds(): number | null {
    return this.#readout === null ? null : latencySeconds(this.#readout);
  }

  seekToLive(): void {
    // There is nothing to jump over: what has come has been shown.
  }

  /** Tries the network anew, without a new session. */
  restartIce(): void {
    this.#peer.restartIce();
  }

  stats(): PathStats {
    const readout = this.#readout;
    const codecs = [readout?.videoCodec ?? null, readout?.audioCodec ?? null];
    return {
      label: transportLabel(readout?.transport ?? null),
      bitrateBps: readout?.bitrateBps ?? null,
      renditions: Math.max(1, this.layers().length),
      codecs: codecs.filter((codec) => codec !== null),
      receive: readout,
      viewers: this.#news?.viewers ?? null,
    };
  }

  layers(): readonly Layer[] {
    const layers = this.#news?.canChoose === true ? this.#news.layers : [];
    return layers.length > 1 ? layers : [];
  }

  async chooseLayer(layer: Layer | null): Promise<void> {
    await this.#news?.choose(layer);
  }
}
