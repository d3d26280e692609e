/** Which type MediaRecorder is asked for. */

import type { Settings, VideoCodec } from './settings.ts';

type RealCodec = Exclude<VideoCodec, 'auto'>;

/**
 * Containers and the names of the codec in them, by browser: Chromium writes H.264 as `h264` into WebM and, since it
 * distinguishes, as `avc1` into Matroska; AV1 is `av1` or `av01`.
 */
const TYPES: Record<RealCodec, [container: string, codec: string][]> = {
  vp8: [['video/webm', 'vp8']],
  vp9: [['video/webm', 'vp9']],
  h264: [
    ['video/webm', 'h264'],
    ['video/x-matroska', 'avc1'],
  ],
  av1: [
    ['video/webm', 'av1'],
    ['video/webm', 'av01'],
  ],
};

/** VP8 before the others: every browser that records WebM has it, and encodes it in real time on anything. */
const AUTO: RealCodec[] = ['vp8', 'vp9', 'h264', 'av1'];

/** What is to be recorded. */
export interface Wanted {
  video: Settings['video'];
  audio: boolean;
}

/** The MIME type to record; null when this browser has none for it. */
export function recorderType(
  { video, audio }: Wanted,
  isSupported: (type: string) => boolean,
): string | null {
  if (video === 'off') {
    const sound = 'audio/webm;codecs=opus';
    return audio && isSupported(sound) ? sound : null;
  }
  const sound = audio ? ',opus' : '';
  for (const name of video === 'auto' ? AUTO : [video]) {
    for (const [container, codec] of TYPES[name]) {
      const type = `${container};codecs=${codec}${sound}`;
      if (isSupported(type)) return type;
    }
  }
  return null;
}

/** The codecs of the form that this browser can record, `auto` first. */
export function recordable(isSupported: (type: string) => boolean): VideoCodec[] {
  const real = AUTO.filter((video) => recorderType({ video, audio: false }, isSupported) !== null);
  return real.length > 0 ? ['auto', ...real] : [];
}

/** `video/webm;codecs=vp8,opus` -> picture `vp8`, sound `opus`. */
export function recordedCodecs(type: string): { video: string | null; audio: string | null } {
  const names = (/codecs="?([^";]*)/i.exec(type)?.[1] ?? '').split(',').map((name) => name.trim());
  const isSound = (name: string): boolean => /^(opus|pcm|mp4a|vorbis|flac)/i.test(name);
  return {
    video: names.find((name) => name !== '' && !isSound(name)) ?? null,
    audio: names.find(isSound) ?? null,
  };
}
