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

export interface StreamInfo {
  name: string;
  /** `waiting`: the publisher is gone and may come back within the grace time. */
  state: 'live' | 'waiting' | 'starting';
  /** RFC 3339. */
  since: string;
  video: VideoInfo | null;
  audio: AudioInfo | null;
  output: { video: 'passthrough' | 'transcode' | null; width: number | null; height: number | null } | null;
  hls: string;
}

export async function listStreams(): Promise<StreamInfo[]> {
  const response = await fetch(paths.apiStreams, { cache: 'no-store', signal: AbortSignal.timeout(8_000) });
  if (!response.ok) throw new Error(`The server answered ${response.status}.`);
  const { streams } = (await response.json()) as { streams: StreamInfo[] };
  return streams;
}

/** Null when there is no such stream. */
export async function getStream(stream: string): Promise<StreamInfo | null> {
  const response = await fetch(paths.api(stream), { cache: 'no-store', signal: AbortSignal.timeout(8_000) });
  if (response.status === 404) return null;
  if (!response.ok) throw new Error(`The server answered ${response.status}.`);
  return (await response.json()) as StreamInfo;
}
