/**
 * One WHIP session: a peer connection from its offer to its end. It never reconnects; `Publisher` makes a new one.
 */

import { preferences } from '../pure/codecs.ts';
import { announceStereo, askForStereo, refusedKinds } from '../pure/sdp.ts';
import { audioBitrateBps, maxVideoBitrateBps } from '../pure/settings.ts';
import { readSendStats, type SendReadout } from '../pure/stats.ts';
import { Peer } from '../webrtc/peer.ts';
import { CodecMissing, type Outgoing, type Sending } from './sending.ts';

/** From the answer to a connection: ICE and DTLS take under a second wherever they work at all. */
const CONNECT_DEADLINE_MS = 12_000;

/** `RTCRtpSendParameters` as of webrtc-pc; the DOM library leaves the preference out. */
type SendParameters = RTCRtpSendParameters & {
  degradationPreference?: 'maintain-framerate' | 'maintain-resolution' | 'balanced';
};

export class Session implements Sending {
  onLost: (why: Error | null) => void = () => {};
  /** The connection is being repaired, or stands again. */
  onTrouble: (troubled: boolean) => void = () => {};
  refused: string[] = [];

  readonly #peer: Peer;
  readonly #outgoing: Outgoing;
  #readout: SendReadout | null = null;

  constructor(endpoint: URL, token: string | null, outgoing: Outgoing) {
    this.#outgoing = outgoing;
    const stereo = outgoing.stereo
      ? {
          announce: announceStereo,
          understand: (answer: string): string => askForStereo(answer, audioBitrateBps(true)),
        }
      : {};
    this.#peer = new Peer({ endpoint, token, connectDeadlineMs: CONNECT_DEADLINE_MS, ...stereo });
    this.#peer.onLost = () => this.onLost(null);
    this.#peer.onTrouble = (troubled) => this.onTrouble(troubled);
  }

  get location(): string | null {
    return this.#peer.resource?.location.href ?? null;
  }

  /** Resolves when media flows. Throws an error of this module, of `webrtc/session.ts` or `webrtc/waits.ts`; the session is over then. */
  async open(signal: AbortSignal): Promise<void> {
    try {
      this.#addTracks();
    } catch (error) {
      void this.close(false);
      throw error;
    }
    await this.#peer.open(signal, async (answer) => {
      this.refused = refusedKinds(answer);
      await this.#preferResolution();
    });
  }

  #addTracks(): void {
    const { video, audio, settings } = this.#outgoing;
    const streams = [new MediaStream([video, audio].filter((track) => track !== null))];
    const { pc } = this.#peer;
    if (audio !== null) pc.addTransceiver(audio, { direction: 'sendonly', streams });
    if (video === null || settings.video === 'off') return;
    const transceiver = pc.addTransceiver(video, {
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

  #sender(kind: 'audio' | 'video'): RTCRtpSender | undefined {
    return this.#peer.pc.getSenders().find((sender) => sender.track?.kind === kind);
  }

  /** Another device, without a new negotiation. */
  async replaceTrack(track: MediaStreamTrack): Promise<void> {
    await this.#sender(track.kind as 'audio' | 'video')?.replaceTrack(track);
  }

  async readout(): Promise<SendReadout> {
    this.#readout = readSendStats(await this.#peer.stats(), performance.now(), this.#readout);
    return this.#readout;
  }

  restartIce(): void {
    this.#peer.restartIce();
  }

  async close(leaving: boolean): Promise<boolean> {
    return this.#peer.close(leaving);
  }
}
