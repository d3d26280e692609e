/** Which codecs to offer, from what the browser says it can send. */

import type { VideoCodec } from './settings.ts';

/** The part of `RTCRtpCodec` that is looked at here. */
export interface Codec {
  mimeType: string;
  sdpFmtpLine?: string;
}

const MIME: Record<Exclude<VideoCodec, 'auto'>, string> = {
  vp8: 'video/vp8',
  vp9: 'video/vp9',
  h264: 'video/h264',
  av1: 'video/av1',
};

/** Repair formats that belong to any codec and must stay in the offer. */
const REPAIR = ['video/rtx', 'video/red', 'video/ulpfec', 'video/flexfec-03'];

/** The codecs of the form that this browser can send, `auto` first. */
export function sendable(capabilities: readonly Codec[]): VideoCodec[] {
  const mimes = new Set(capabilities.map((codec) => codec.mimeType.toLowerCase()));
  const real = (Object.keys(MIME) as (keyof typeof MIME)[]).filter((name) => mimes.has(MIME[name]));
  return real.length > 0 ? ['auto', ...real] : [];
}

/**
 * The list for `setCodecPreferences`: only the chosen codec, with the repair formats; null for `auto`, which is the
 * browser's own order. An empty list means that the browser cannot send the codec.
 */
export function preferences<T extends Codec>(capabilities: readonly T[], wish: VideoCodec): T[] | null {
  if (wish === 'auto') return null;
  const chosen = capabilities.filter((codec) => codec.mimeType.toLowerCase() === MIME[wish]);
  if (chosen.length === 0) return [];
  const repair = capabilities.filter((codec) => REPAIR.includes(codec.mimeType.toLowerCase()));
  return [...chosen.sort((a, b) => rank(a) - rank(b)), ...repair];
}

/** Lower is better; the sort is stable, so that equals keep the browser's order. */
function rank(codec: Codec): number {
  const fmtp = codec.sdpFmtpLine ?? '';
  // H.264: packetization-mode 1 (RFC 6184 section 5.4) lets a frame span packets; mode 0 caps slices at the MTU.
  if (codec.mimeType.toLowerCase() === 'video/h264') return /packetization-mode=1/.test(fmtp) ? 0 : 1;
  // VP9 profile 0 and AV1 profile 0 are 4:2:0 with 8 bits, which every decoder has.
  const profile = /profile(?:-id)?=(\d+)/.exec(fmtp)?.[1];
  return profile === undefined ? 0 : Number(profile);
}

/** `video/VP8` -> `VP8`, `avc1.42c01e` -> `H.264`; names that are not known stay as they are. */
export function codecName(raw: string): string {
  const name = raw.replace(/^(video|audio)\//i, '');
  const lower = name.toLowerCase();
  if (/^(h264|avc1|avc3)/.test(lower)) return 'H.264';
  if (/^(vp8|vp08)/.test(lower)) return 'VP8';
  if (/^(vp9|vp09)/.test(lower)) return 'VP9';
  if (/^(av1|av01)/.test(lower)) return 'AV1';
  if (/^opus/.test(lower)) return 'Opus';
  if (/^(aac|mp4a)/.test(lower)) return 'AAC';
  return name;
}
