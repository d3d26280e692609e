/** What a viewer's connection receives, from successive `RTCPeerConnection.getStats()` snapshots. */

import { num, type Stat, str } from './stats.ts';

/** Loss is shown over this time: long enough to be a rate, short enough to say how it is now. */
const LOSS_WINDOW_MS = 5_000;
/** Bitrate, frame rate and jitter buffer move faster. */
const RATE_WINDOW_MS = 2_000;

export interface ReceiveReadout {
  /** Bits per second of all media, over the last two seconds; null in the first snapshot. */
  bitrateBps: number | null;
  /** Part of the packets of the last five seconds that never came (retransmitted ones have come), 0..1. */
  fractionLost: number;
  /** Packets that never came, since the beginning. */
  packetsLost: number;
  /** How long a frame waits between its arrival and its decoding, on average over the last two seconds. */
  jitterBufferMs: number | null;
  rttMs: number | null;
  width: number | null;
  height: number | null;
  /** Decoded pictures per second, over the last two seconds. */
  fps: number | null;
  framesDecoded: number;
  freezeCount: number;
  totalFreezesSeconds: number;
  audioLevel: number | null;
  totalAudioEnergy: number;
  videoCodec: string | null;
  audioCodec: string | null;
  /** The way of the media: `udp`, `tcp`, `turn-udp`, `turn-tcp` or `turn-tls`. */
  transport: string | null;
  packetsReceived: number;
}

/** The counters that rates are made of. */
interface Counters {
  atMs: number;
  bytes: number;
  received: number;
  lost: number;
  frames: number;
  bufferedSeconds: number;
  emitted: number;
}

/** Turns snapshots of one connection into readouts. */
export class ReceiveMeter {
  /** Oldest first, none older than the longest window needs. */
  #past: Counters[] = [];

  handleStats(stats: readonly Stat[], nowMs: number): ReceiveReadout {
    const byId = new Map(stats.map((stat) => [stat.id, stat]));
    const inbound = stats.filter((stat) => stat.type === 'inbound-rtp');
    const video = inbound.find((stat) => str(stat, 'kind') === 'video');
    const audio = inbound.find((stat) => str(stat, 'kind') === 'audio');
    const now = counters(inbound, video, audio, nowMs);
    const forRate = this.#since(nowMs - RATE_WINDOW_MS, now);
    const forLoss = this.#since(nowMs - LOSS_WINDOW_MS, now);
    this.#past = [...this.#past.filter((past) => past.atMs >= nowMs - 2 * LOSS_WINDOW_MS), now];
    const codecOf = (stat: Stat | undefined): string | null =>
      str(byId.get(str(stat, 'codecId') ?? ''), 'mimeType');
    const pair = selectedPair(stats, byId);
    const rtt = num(pair, 'currentRoundTripTime');
    return {
      ...rates(now, forRate),
      fractionLost: fractionLost(now, forLoss),
      packetsLost: Math.max(0, now.lost),
      rttMs: rtt === null ? null : rtt * 1000,
      width: num(video, 'frameWidth'),
      height: num(video, 'frameHeight'),
      framesDecoded: num(video, 'framesDecoded') ?? 0,
      freezeCount: num(video, 'freezeCount') ?? 0,
      totalFreezesSeconds: num(video, 'totalFreezesDuration') ?? 0,
      audioLevel: num(audio, 'audioLevel'),
      totalAudioEnergy: num(audio, 'totalAudioEnergy') ?? 0,
      videoCodec: codecOf(video),
      audioCodec: codecOf(audio),
      transport: transport(byId.get(str(pair, 'localCandidateId') ?? '')),
      packetsReceived: now.received,
    };
  }

  /** The newest snapshot that is at least as old as `atMs`, or else the oldest; null without one that can be compared. */
  #since(atMs: number, now: Counters): Counters | null {
    const past = this.#past.filter((each) => each.atMs <= atMs).at(-1) ?? this.#past[0];
    // Counters that fell belong to another source (the server changed it): nothing can be told yet.
    return past === undefined || past.bytes > now.bytes || past.received > now.received ? null : past;
  }
}

function counters(
  inbound: readonly Stat[],
  video: Stat | undefined,
  audio: Stat | undefined,
  atMs: number,
): Counters {
  const sum = (key: string): number => inbound.reduce((total, stat) => total + (num(stat, key) ?? 0), 0);
  // The picture's buffer where there is a picture: sound waits for it, not the other way round.
  const lane = video !== undefined && (num(video, 'jitterBufferEmittedCount') ?? 0) > 0 ? video : audio;
  return {
    atMs,
    bytes: sum('bytesReceived') + sum('headerBytesReceived'),
    received: sum('packetsReceived'),
    lost: sum('packetsLost'),
    frames: num(video, 'framesDecoded') ?? 0,
    bufferedSeconds: num(lane, 'jitterBufferDelay') ?? 0,
    emitted: num(lane, 'jitterBufferEmittedCount') ?? 0,
  };
}

function rates(
  now: Counters,
  past: Counters | null,
): Pick<ReceiveReadout, 'bitrateBps' | 'fps' | 'jitterBufferMs'> {
  const ms = past === null ? 0 : now.atMs - past.atMs;
  if (past === null || ms <= 0) return { bitrateBps: null, fps: null, jitterBufferMs: null };
  const emitted = now.emitted - past.emitted;
  const buffered = now.bufferedSeconds - past.bufferedSeconds;
  return {
    bitrateBps: ((now.bytes - past.bytes) * 8000) / ms,
    fps: now.frames > 0 ? ((now.frames - past.frames) * 1000) / ms : null,
    jitterBufferMs: emitted > 0 && buffered >= 0 ? (buffered * 1000) / emitted : null,
  };
}

/** `packetsLost` may fall: a packet that was late after all is counted back (RFC 3550 section 6.4.1). */
function fractionLost(now: Counters, past: Counters | null): number {
  if (past === null) return 0;
  const lost = Math.max(0, now.lost - past.lost);
  const expected = lost + Math.max(0, now.received - past.received);
  return expected === 0 ? 0 : lost / expected;
}

/** Safari and Chromium name the pair in the transport; Firefox marks it. */
function selectedPair(stats: readonly Stat[], byId: ReadonlyMap<string, Stat>): Stat | undefined {
  const transports = stats.filter((stat) => stat.type === 'transport');
  const named = transports.map((stat) => byId.get(str(stat, 'selectedCandidatePairId') ?? ''));
  const pairs = stats.filter((stat) => stat.type === 'candidate-pair' && str(stat, 'state') === 'succeeded');
  return (
    named.find((pair) => pair !== undefined) ??
    pairs.find((pair) => pair['selected'] === true) ??
    pairs.find((pair) => pair['nominated'] === true)
  );
}

function transport(local: Stat | undefined): string | null {
  if (local === undefined) return null;
  const relay = str(local, 'candidateType') === 'relay' ? str(local, 'relayProtocol') : null;
  return relay === null ? str(local, 'protocol') : `turn-${relay}`;
}

/**
 * How far the picture is behind what is sent: the way here, and the wait in the jitter buffer. Capturing, encoding and
 * drawing are not in it. Null when neither is known yet.
 */
export function latencySeconds({ jitterBufferMs, rttMs }: ReceiveReadout): number | null {
  if (jitterBufferMs === null) return null;
  return (jitterBufferMs + (rttMs ?? 0) / 2) / 1000;
}
