/** What is on air, as the events of `/api/v1/events` tell it. Pure. */

import type { AudioInfo, LadderInfo, StreamInfo, VideoInfo } from '../ui/api.ts';

/** Fields of the API that only this page reads. */
interface Loss {
  loss_fraction?: number;
}

export interface Viewers {
  webrtc: number;
  hls: number;
}

export interface Worker {
  state: 'idle' | 'running' | 'restarting';
  restarts: number;
}

export interface Recording {
  state: 'off' | 'on' | 'failed';
  bytes: number;
  duration_ms: number;
  reason: string | null;
}

export type BoardStream = Omit<StreamInfo, 'state' | 'video' | 'audio'> & {
  state: StreamInfo['state'] | 'ended';
  video: (VideoInfo & Loss) | null;
  audio: (AudioInfo & Loss) | null;
  viewers?: Viewers;
  worker?: Worker | null;
  recording?: Recording;
};

/** By stream name. */
export type Board = ReadonlyMap<string, BoardStream>;

/** The events that change the board. */
export const EVENTS = ['snapshot', 'stream-started', 'stream-updated', 'viewers', 'stream-ended'] as const;

/** The board of a whole list; streams that have ended are not on air. */
export function boardOf(streams: readonly BoardStream[]): Board {
  return new Map(streams.filter((one) => one.state !== 'ended').map((one) => [one.name, one]));
}

/** The board after one event; the same one when the event means nothing to it. */
export function afterEvent(board: Board, name: (typeof EVENTS)[number], data: unknown): Board {
  if (name === 'snapshot') return boardOf((data as { streams: BoardStream[] }).streams);
  const next = new Map(board);
  if (name === 'stream-ended') {
    next.delete((data as { stream: string }).stream);
  } else if (name === 'viewers') {
    const { stream, viewers } = data as { stream: string; viewers: Viewers };
    const known = board.get(stream);
    if (known === undefined) return board;
    next.set(stream, { ...known, viewers });
  } else {
    const stream = data as BoardStream;
    next.set(stream.name, stream);
  }
  return next;
}

/** `3 by WebRTC · 1 by HLS`; `nobody`; empty when the server does not say. */
export function viewerWords(viewers: Viewers | undefined): string {
  if (viewers === undefined) return '';
  const parts = [];
  if (viewers.webrtc > 0) parts.push(`${viewers.webrtc} by WebRTC`);
  if (viewers.hls > 0) parts.push(`${viewers.hls} by HLS`);
  return parts.length === 0 ? 'nobody' : parts.join(' · ');
}

/** The publisher's loss, of the worse of its tracks: `none`, `0.4 %`. */
export function lossWords({ video, audio }: Pick<BoardStream, 'video' | 'audio'>): string {
  const known = [video?.loss_fraction, audio?.loss_fraction].filter((loss) => loss !== undefined);
  if (known.length === 0) return '';
  const percent = Math.max(...known) * 100;
  if (percent === 0) return 'none';
  return percent < 0.1 ? 'below 0.1\u00a0%' : `${percent.toFixed(1)}\u00a0%`;
}

/** `0:42, 12.3 MB`; empty while nothing is recorded. */
export function recordingWords(recording: Recording | undefined): string {
  if (recording === undefined || recording.state === 'off') return '';
  if (recording.state === 'failed') return `stopped: ${recording.reason ?? 'for no known reason'}`;
  const seconds = Math.floor(recording.duration_ms / 1000);
  const clock = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
  return `${clock}, ${(recording.bytes / 1e6).toFixed(1)}\u00a0MB`;
}

export function workerWords(worker: Worker | null | undefined): string {
  if (!worker) return '';
  const state = { idle: 'not needed', running: 'running', restarting: 'restarting' }[worker.state];
  if (worker.restarts === 0) return state;
  return `${state} · restarted ${worker.restarts === 1 ? 'once' : `${worker.restarts} times`}`;
}

/** `720p, 480p`; `480p · no room for 720p`; empty when nothing is encoded. */
export function ladderWords(ladder: LadderInfo | undefined): string {
  if (ladder === undefined) return '';
  if (ladder.asleep) return 'on demand: nobody watches';
  const encoded = ladder.encoded.map((one) => one.name).join(', ');
  if (ladder.cut.length === 0) return encoded;
  return [encoded, `no room for ${ladder.cut.join(', ')}`].filter((part) => part !== '').join(' · ');
}
