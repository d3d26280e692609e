/** Readouts from two successive `RTCPeerConnection.getStats()` snapshots. */

import type { Via } from './way.ts';

/** One entry of a stats report, as plain data. */
export type Stat = Record<string, unknown> & { id: string; type: string };

export interface SendReadout {
  via: Via;
  /** Bits per second on the wire's payload since the last snapshot, all media; null in the first snapshot. */
  bitrateBps: number | null;
  roundTripSeconds: number | null;
  width: number | null;
  height: number | null;
  fps: number | null;
  /** Packets that never arrived, as the server reported them. */
  packetsLost: number;
  /** Part of the last interval's packets that was lost, 0..1. */
  fractionLost: number;
  /** `none`, `cpu`, `bandwidth` or `other`. */
  limitedBy: string;
  videoCodec: string | null;
  audioCodec: string | null;
  /** Bytes so far, for the next readout. */
  bytesSent: number;
  atMs: number;
}

/** A finite number of a report's entry; null when it has none under this name. */
export function num(stat: Stat | undefined, key: string): number | null {
  const value = stat?.[key];
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

export function str(stat: Stat | undefined, key: string): string | null {
  const value = stat?.[key];
  return typeof value === 'string' ? value : null;
}

export function readSendStats(
  stats: readonly Stat[],
  nowMs: number,
  before: SendReadout | null,
): SendReadout {
  const byId = new Map(stats.map((stat) => [stat.id, stat]));
  const outbound = stats.filter((stat) => stat.type === 'outbound-rtp');
  const remote = stats.filter((stat) => stat.type === 'remote-inbound-rtp');
  // With simulcast there is one entry per layer: the picture's size is that of the largest one that flows.
  const videos = outbound.filter((stat) => str(stat, 'kind') === 'video');
  const video = videos.sort((a, b) => (num(b, 'frameHeight') ?? 0) - (num(a, 'frameHeight') ?? 0))[0];
  const audio = outbound.find((stat) => str(stat, 'kind') === 'audio');

  let bytesSent = 0;
  for (const stat of outbound)
    bytesSent += (num(stat, 'bytesSent') ?? 0) + (num(stat, 'headerBytesSent') ?? 0);
  const bitrateBps = rateSince(bytesSent, nowMs, before);

  let packetsLost = 0;
  let fractionLost = 0;
  let roundTripSeconds: number | null = null;
  for (const stat of remote) {
    packetsLost += Math.max(0, num(stat, 'packetsLost') ?? 0);
    fractionLost = Math.max(fractionLost, num(stat, 'fractionLost') ?? 0);
    roundTripSeconds ??= num(stat, 'roundTripTime');
  }
  const pair = stats.find(
    (stat) =>
      stat.type === 'candidate-pair' && stat['nominated'] === true && str(stat, 'state') === 'succeeded',
  );
  roundTripSeconds = num(pair, 'currentRoundTripTime') ?? roundTripSeconds;

  const codecOf = (stat: Stat | undefined): string | null =>
    str(byId.get(str(stat, 'codecId') ?? ''), 'mimeType');
  return {
    via: 'webrtc',
    bitrateBps,
    roundTripSeconds,
    width: num(video, 'frameWidth'),
    height: num(video, 'frameHeight'),
    fps: num(video, 'framesPerSecond'),
    packetsLost,
    fractionLost,
    limitedBy: str(video, 'qualityLimitationReason') ?? 'none',
    videoCodec: codecOf(video),
    audioCodec: codecOf(audio),
    bytesSent,
    atMs: nowMs,
  };
}

/** What a recorder sends, as far as it can be known. */
export interface RecordedState {
  bytesSent: number;
  /** `getSettings()` of the picture's track; null without one. */
  picture: { width?: number; height?: number } | null;
  limited: boolean;
  videoCodec: string | null;
  audioCodec: string | null;
}

/** The same for WebM over a WebSocket: TCP loses nothing, and a page is told neither its round trip nor how many frames are recorded. */
export function readRecordedStats(
  { bytesSent, picture, limited, videoCodec, audioCodec }: RecordedState,
  nowMs: number,
  before: SendReadout | null,
): SendReadout {
  return {
    via: 'webm',
    bitrateBps: rateSince(bytesSent, nowMs, before),
    roundTripSeconds: null,
    width: picture?.width ?? null,
    height: picture?.height ?? null,
    fps: null,
    packetsLost: 0,
    fractionLost: 0,
    limitedBy: limited ? 'bandwidth' : 'none',
    videoCodec,
    audioCodec,
    bytesSent,
    atMs: nowMs,
  };
}

/** Null at first, and when the counter has begun again. */
function rateSince(bytesSent: number, nowMs: number, before: SendReadout | null): number | null {
  if (before === null || nowMs <= before.atMs || bytesSent < before.bytesSent) return null;
  return ((bytesSent - before.bytesSent) * 8000) / (nowMs - before.atMs);
}

/** Why the picture is not as good as asked for, in words; empty when nothing holds it back. */
export function limitWords(limitedBy: string): string {
  switch (limitedBy) {
    case 'cpu':
      return 'This device is too busy to encode more. Choose a lower resolution or frame rate, or another codec.';
    case 'bandwidth':
      return 'The connection to the server does not carry more at the moment.';
    case 'none':
      return '';
    default:
      return 'The browser holds the quality back.';
  }
}
