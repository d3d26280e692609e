/** The control API, as far as the pages read it. */

import { paths } from '../pure/names.ts';

export interface VideoInfo {
  codec: string;
  width: number;
  height: number;
  fps: number;
  bitrate_bps: number;
}

export interface AudioInfo {
  codec: string;
  channels: number;
  sample_rate: number;
  bitrate_bps: number;
}

export interface ViewerCounts {
  webrtc: number;
  hls: number;
}

export interface LadderInfo {
  /** The largest first. */
  encoded: { name: string; width: number; height: number; bitrate_bps: number }[];
  /** Names of what the machine has no room for. */
  cut: string[];
  reason: 'fits' | 'no-room' | 'machine-full' | 'encoders-late' | null;
  asleep: boolean;
}

export interface StreamInfo {
  name: string;
  /** `waiting`: the publisher is gone and may come back within the grace time; `slate`: it stays away, and a picture is shown instead; `ended`: only the last segments are left. */
  state: 'live' | 'waiting' | 'slate' | 'starting' | 'ended';
  /** RFC 3339. */
  since: string;
  video: VideoInfo | null;
  audio: AudioInfo | null;
  output: { video: 'passthrough' | 'transcode' | null; width: number | null; height: number | null } | null;
  hls: string;
  viewers?: ViewerCounts;
  ladder?: LadderInfo;
  /** Path of the newest small picture. */
  thumbnail?: string | null;
}

/** The API wants a key that this page does not have: asking again is of no use. */
export class ApiClosed extends Error {}

function refusal(status: number): Error {
  const words = `The server answered ${status}.`;
  return status === 401 || status === 403 ? new ApiClosed(words) : new Error(words);
}

export async function listStreams(): Promise<StreamInfo[]> {
  const response = await fetch(paths.apiStreams, { cache: 'no-store', signal: AbortSignal.timeout(8_000) });
  if (!response.ok) throw refusal(response.status);
  const { streams } = (await response.json()) as { streams: StreamInfo[] };
  return streams;
}

/** Switches a stream's recording on or off. */
export async function record(stream: string, wanted: boolean): Promise<void> {
  const method = wanted ? 'POST' : 'DELETE';
  const response = await fetch(paths.recording(stream), { method, signal: AbortSignal.timeout(8_000) });
  if (!response.ok) throw refusal(response.status);
}

/** Null when there is no such stream. */
export async function getStream(stream: string): Promise<StreamInfo | null> {
  const response = await fetch(paths.api(stream), { cache: 'no-store', signal: AbortSignal.timeout(8_000) });
  if (response.status === 404) return null;
  if (!response.ok) throw refusal(response.status);
  return (await response.json()) as StreamInfo;
}
