/**
 * One WHIP session: a peer connection from its offer to its end. It never reconnects; `Publisher` makes a new one.
 */

import { preferences } from '../pure/codecs.ts';
import type { IceServer } from '../pure/links.ts';
import {
  announceStereo,
  askForStereo,
  candidateAddresses,
  refusedKinds,
  refusesEverything,
} from '../pure/sdp.ts';
import { audioBitrateBps, maxVideoBitrateBps, type Settings } from '../pure/settings.ts';
import { readSendStats, type SendReadout, type Stat } from '../pure/stats.ts';
import { deleteSession, postOffer, WhipNonsense, type WhipResource } from '../webrtc/session.ts';

/** Host candidates are there in a few milliseconds; a STUN or TURN server that does not answer is not waited for. */
const GATHER_DEADLINE_MS = 1_500;
/** From the answer to a connection: ICE and DTLS take under a second wherever they work at all. */
const CONNECT_DEADLINE_MS = 12_000;
/** A phone that changes from Wi-Fi to mobile data recovers within this time, or needs a new session. */
const DISCONNECTED_GRACE_MS = 4_000;

/** No path for media; the addresses are those of the server that were tried. */
export class IceFailed extends Error {
  readonly addresses: string[];

  constructor(addresses: string[]) {
    super('no media connection');
    this.addresses = addresses;
  }
}

export class HandshakeFailed extends Error {}
export class CodecMissing extends Error {}

/** `RTCRtpSendParameters` as of webrtc-pc; the DOM library leaves the preference out. */
type SendParameters = RTCRtpSendParameters & {
  degradationPreference?: 'maintain-framerate' | 'maintain-resolution' | 'balanced';
};

/** What a session was given to send. */
export interface Outgoing {
  video: MediaStreamTrack | null;
  audio: MediaStreamTrack | null;
  settings: Settings;
  stereo: boolean;
}

export class Session {
  /** Called once when a connection that stood is gone. */
  onLost: () => void = () => {};
  resource: WhipResource | null = null;
  /** What the answer's Link header named; stays known when the session is over. */
  iceServers: IceServer[] | null = null;
  /** Kinds (`audio`, `video`) that the server does not take. */
  refused: string[] = [];

  readonly #pc: RTCPeerConnection;
  readonly #outgoing: Outgoing;
  #readout: SendReadout | null = null;
  #over = false;
  #disconnectedTimer: number | undefined;

  constructor(outgoing: Outgoing, iceServers: IceServer[]) {
    this.#outgoing = outgoing;
    this.#pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle', iceServers });
  }

  /** Resolves when media flows. Throws an error of this module or of `whip.ts`; the session is over then. */
  async open(endpoint: URL, signal: AbortSignal): Promise<void> {
    try {
      await this.#open(endpoint, signal);
    } catch (error) {
      // No wait: the reason for the failure is what the caller needs now.
      void this.close(false);
      throw error;
    }
  }

  async #open(endpoint: URL, signal: AbortSignal): Promise<void> {
    const pc = this.#pc;
    this.#addTracks();
    await pc.setLocalDescription(await pc.createOffer());
    await gathered(pc, signal);
    const { stereo } = this.#outgoing;
    const offer = pc.localDescription?.sdp ?? '';
    this.resource = await postOffer(endpoint, stereo ? announceStereo(offer) : offer, signal);
    this.iceServers = this.resource.iceServers;
    signal.throwIfAborted();
    const { answer } = this.resource;
    if (refusesEverything(answer)) throw new WhipNonsense('It takes neither the picture nor the sound.');
    this.refused = refusedKinds(answer);
    const sdp = stereo ? askForStereo(answer, audioBitrateBps(true)) : answer;
    try {
      await pc.setRemoteDescription({ type: 'answer', sdp });
    } catch (error) {
      throw new WhipNonsense(error instanceof Error ? error.message : String(error));
    }
    await this.#preferResolution();
    await connected(pc, signal);
    this.#watch();
  }

  #addTracks(): void {
    const { video, audio, settings } = this.#outgoing;
    const streams = [new MediaStream([video, audio].filter((track) => track !== null))];
    if (audio !== null) this.#pc.addTransceiver(audio, { direction: 'sendonly', streams });
    if (video === null || settings.video === 'off') return;
    const transceiver = this.#pc.addTransceiver(video, {
      direction: 'sendonly',
      streams,
      sendEncodings: [
        {
          maxBitrate: maxVideoBitrateBps(settings.resolution, settings.fps, settings.video),
          maxFramerate: settings.fps,
        },
      ],
    });
    const codecs = preferences(RTCRtpSender.getCapabilities('video')?.codecs ?? [], settings.video);
    if (codecs === null) return;
    if (codecs.length === 0) throw new CodecMissing(settings.video);
    transceiver.setCodecPreferences(codecs);
  }

  /** Under pressure the frame rate gives way and not the size: outputs downstream have a pinned geometry. */
  async #preferResolution(): Promise<void> {
    const sender = this.#sender('video');
    if (sender === undefined) return;
    const parameters: SendParameters = sender.getParameters();
    if (parameters.encodings.length === 0) return;
    parameters.degradationPreference = 'maintain-resolution';
    try {
      await sender.setParameters(parameters);
    } catch (error) {
      // An older Firefox refuses parameters it does not know; it then keeps its own preference.
      console.warn('degradationPreference was not taken:', error);
    }
  }

  /** From now on, notice the end. */
  #watch(): void {
    const pc = this.#pc;
    const check = (): void => {
      window.clearTimeout(this.#disconnectedTimer);
      if (pc.connectionState === 'disconnected') {
        this.#disconnectedTimer = window.setTimeout(() => this.#lose(), DISCONNECTED_GRACE_MS);
      } else if (pc.connectionState === 'failed' || pc.connectionState === 'closed') {
        this.#lose();
      }
    };
    pc.addEventListener('connectionstatechange', check);
    for (const { sender } of pc.getTransceivers()) {
      const transport = sender.transport;
      // A server that ends the session closes DTLS; the connection state alone would say so late or never.
      transport?.addEventListener('statechange', () => {
        if (transport.state === 'closed' || transport.state === 'failed') this.#lose();
      });
    }
    check();
  }

  #lose(): void {
    if (this.#over) return;
    this.#over = true;
    window.clearTimeout(this.#disconnectedTimer);
    this.#pc.close();
    this.onLost();
  }

  #sender(kind: 'audio' | 'video'): RTCRtpSender | undefined {
    return this.#pc.getSenders().find((sender) => sender.track?.kind === kind);
  }

  /** Another device, without a new negotiation. */
  async replaceTrack(track: MediaStreamTrack): Promise<void> {
    await this.#sender(track.kind as 'audio' | 'video')?.replaceTrack(track);
  }

  /** Numbers since the last call. */
  async readout(): Promise<SendReadout> {
    const stats: Stat[] = [];
    (await this.#pc.getStats()).forEach((stat: Stat) => {
      stats.push(stat);
    });
    this.#readout = readSendStats(stats, performance.now(), this.#readout);
    return this.#readout;
  }

  /** Ends the session here and on the server. True when the server has surely forgotten it. */
  async close(leaving: boolean): Promise<boolean> {
    this.#over = true;
    window.clearTimeout(this.#disconnectedTimer);
    this.#pc.close();
    const { resource } = this;
    this.resource = null;
    return resource === null ? true : deleteSession(resource.location, leaving);
  }
}

/** Waits until `settled` answers true (at once or after an event); rejects on abort. */
function until(
  pc: RTCPeerConnection,
  events: string[],
  deadlineMs: number,
  signal: AbortSignal,
  settled: (expired: boolean) => boolean,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = new AbortController();
    const look = (expired: boolean): void => {
      try {
        if (signal.aborted) throw signal.reason;
        if (!settled(expired)) return;
        resolve();
      } catch (error) {
        reject(error);
      }
      done.abort();
      window.clearTimeout(timer);
    };
    const timer = window.setTimeout(() => look(true), deadlineMs);
    for (const event of events) pc.addEventListener(event, () => look(false), { signal: done.signal });
    signal.addEventListener('abort', () => look(false), { signal: done.signal });
    look(false);
  });
}

/** All candidates go into the offer, so that servers without trickle are content. */
function gathered(pc: RTCPeerConnection, signal: AbortSignal): Promise<void> {
  return until(
    pc,
    ['icegatheringstatechange'],
    GATHER_DEADLINE_MS,
    signal,
    (expired) => expired || pc.iceGatheringState === 'complete',
  );
}

function connected(pc: RTCPeerConnection, signal: AbortSignal): Promise<void> {
  const events = ['connectionstatechange', 'iceconnectionstatechange'];
  return until(pc, events, CONNECT_DEADLINE_MS, signal, (expired) => {
    if (pc.connectionState === 'connected') return true;
    const iceStands = pc.iceConnectionState === 'connected' || pc.iceConnectionState === 'completed';
    const failed = pc.connectionState === 'failed' || pc.connectionState === 'closed' || expired;
    if (!failed) return false;
    throw iceStands
      ? new HandshakeFailed()
      : new IceFailed(candidateAddresses(pc.remoteDescription?.sdp ?? ''));
  });
}
