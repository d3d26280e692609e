/** The numbers while live. */

import { codecName } from '../pure/codecs.ts';
import { audience, bitrate, clock, milliseconds, size } from '../pure/format.ts';
import { limitWords, type SendReadout } from '../pure/stats.ts';
import type { ViewerCounts } from '../ui/api.ts';
import { byId, setText, show } from '../ui/dom.ts';

const bitrateText = byId('r-bitrate', HTMLElement);
const rttText = byId('r-rtt', HTMLElement);
const sizeText = byId('r-size', HTMLElement);
const fpsText = byId('r-fps', HTMLElement);
const lostText = byId('r-lost', HTMLElement);
const codecsText = byId('r-codecs', HTMLElement);
const timeText = byId('r-time', HTMLElement);
const limitText = byId('r-limit', HTMLElement);

export function showReadout(readout: SendReadout, liveSeconds: number): void {
  setText(bitrateText, bitrate(readout.bitrateBps));
  // Over TCP nothing is lost, and nobody tells a page its round trip; nor does a recorder count its frames.
  const overRtp = readout.via === 'webrtc';
  show(byId('rtt-row', HTMLElement), overRtp);
  show(byId('lost-row', HTMLElement), overRtp);
  show(byId('fps-row', HTMLElement), overRtp);
  setText(rttText, milliseconds(readout.roundTripSeconds));
  setText(sizeText, size(readout.width, readout.height));
  setText(fpsText, readout.fps === null ? '–' : `${Math.round(readout.fps)} fps`);
  const percent = (readout.fractionLost * 100).toFixed(readout.fractionLost < 0.1 ? 1 : 0);
  setText(
    lostText,
    readout.fractionLost > 0 ? `${readout.packetsLost} (${percent} %)` : String(readout.packetsLost),
  );
  const codecs = [readout.videoCodec, readout.audioCodec].filter((mime) => mime !== null).map(codecName);
  setText(codecsText, codecs.length > 0 ? codecs.join(' + ') : '–');
  setText(timeText, clock(liveSeconds));
  setText(limitText, readout.width === null ? '' : limitWords(readout.limitedBy));
}

/** Who watches; null when the server does not say. */
export function showViewers(viewers: ViewerCounts | null): void {
  show(byId('viewers-row', HTMLElement), viewers !== null);
  if (viewers !== null) setText(byId('r-viewers', HTMLElement), audience(viewers.webrtc, viewers.hls));
}
