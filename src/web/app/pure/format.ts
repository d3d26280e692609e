/** Numbers as people read them. */

export function bitrate(bps: number | null | undefined): string {
  if (bps === null || bps === undefined || !Number.isFinite(bps) || bps < 0) return '–';
  if (bps < 999_500) return `${Math.round(bps / 1000)}\u00a0kbit/s`;
  return `${(bps / 1_000_000).toFixed(1)}\u00a0Mbit/s`;
}

/** `90` -> `1:30`, `3700` -> `1:01:40`. */
export function clock(seconds: number): string {
  const total = Math.max(0, Math.floor(seconds));
  const two = (value: number): string => String(value).padStart(2, '0');
  const hours = Math.floor(total / 3600);
  const minutes = Math.floor(total / 60) % 60;
  return hours > 0 ? `${hours}:${two(minutes)}:${two(total % 60)}` : `${minutes}:${two(total % 60)}`;
}

/** How long ago, in words. */
export function ago(seconds: number): string {
  if (!Number.isFinite(seconds)) return '';
  if (seconds < 10) return 'just now';
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60) % 60} min`;
  return `${Math.floor(seconds / 86_400)} d ${Math.floor(seconds / 3600) % 24} h`;
}

export function latency(seconds: number | null): string {
  if (seconds === null || !Number.isFinite(seconds)) return '–';
  return seconds < 0.95 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`;
}

export function milliseconds(seconds: number | null): string {
  return seconds === null || !Number.isFinite(seconds) ? '–' : `${Math.round(seconds * 1000)} ms`;
}

export function size(width: number | null, height: number | null): string {
  return width && height ? `${width}\u00a0×\u00a0${height}` : '–';
}

/** `5`, and of which kind where there are both. */
export function audience(webrtc: number, hls: number): string {
  const all = String(webrtc + hls);
  return webrtc > 0 && hls > 0 ? `${all} (${webrtc}\u00a0WebRTC, ${hls}\u00a0HLS)` : all;
}

/** A part of a whole: `0 %`, `0.3 %`, `12 %`. */
export function percent(fraction: number): string {
  const value = fraction * 100;
  return `${value === 0 || value >= 10 ? Math.round(value) : value.toFixed(1)}\u00a0%`;
}

/** The way of a WebRTC connection's media: `WebRTC (UDP)`, `WebRTC (TURN over TCP)`. */
export function transportLabel(transport: string | null): string {
  if (transport === null) return 'WebRTC';
  const [turn, relayed] = transport.split('-');
  const way = relayed === undefined ? (turn ?? '').toUpperCase() : `TURN over ${relayed.toUpperCase()}`;
  return `WebRTC (${way})`;
}

/** Words that may or may not end like a sentence, as one. */
export function sentence(words: string): string {
  return /[.!?]$/.test(words) ? words : `${words}.`;
}
