/** The numbers under the picture. */

import { codecName } from '../pure/codecs.ts';
import { audience, bitrate, latency, percent, sentence, size } from '../pure/format.ts';
import type { ViewerCounts } from '../ui/api.ts';
import { byId, setText, show } from '../ui/dom.ts';
import type { PathStats } from './path.ts';

const text = (id: string, value: string): void => setText(byId(id, HTMLElement), value);

/** Pictures per second, by counting what the element has shown. */
export class FrameRate {
  #frames = 0;
  #atMs = 0;
  #fps: number | null = null;

  /** Null before two looks at least a second apart. */
  look(video: HTMLVideoElement, nowMs: number): number | null {
    const { totalVideoFrames } = video.getVideoPlaybackQuality();
    const elapsedMs = nowMs - this.#atMs;
    if (elapsedMs < 1_000) return this.#fps;
    const shown = totalVideoFrames - this.#frames;
    this.#fps = this.#atMs > 0 && shown >= 0 ? (shown * 1000) / elapsedMs : null;
    this.#frames = totalVideoFrames;
    this.#atMs = nowMs;
    return this.#fps;
  }
}

export interface Reception {
  stats: PathStats;
  latencySeconds: number | null;
  video: HTMLVideoElement;
  fps: number | null;
  /** As the API counts them; null when it does not. */
  viewers: ViewerCounts | null;
  /** Why a better way was left. */
  passedOver: string | null;
}

export function showReception(reception: Reception): void {
  const { stats, video, viewers, passedOver } = reception;
  const { receive } = stats;
  text('r-path', stats.label);
  text('r-latency', latency(reception.latencySeconds));
  text('r-bitrate', bitrate(stats.bitrateBps));
  text('r-size', video.videoWidth === 0 ? 'sound only' : size(video.videoWidth, video.videoHeight));
  const fps = receive?.fps ?? reception.fps;
  text('r-fps', fps === null || video.videoWidth === 0 ? '–' : `${Math.round(fps)} fps`);
  text('r-codecs', stats.codecs.map(codecName).join(' + ') || '–');
  show(byId('r-loss-row', HTMLElement), receive !== null);
  if (receive !== null) text('r-loss', `${percent(receive.fractionLost)} (${receive.packetsLost} so far)`);
  const known = viewers !== null || stats.viewers !== null;
  show(byId('r-viewers-row', HTMLElement), known);
  if (viewers !== null) text('r-viewers', audience(viewers.webrtc, viewers.hls));
  else if (stats.viewers !== null) text('r-viewers', String(stats.viewers));
  text('r-note', passedOver === null ? '' : sentence(`WebRTC did not work here: ${passedOver}`));
}
