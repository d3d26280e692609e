/** What the publisher chose: in the form, and in the address (`?source=canvas&video=vp8&autostart=1`). */

import { VIAS, type ViaWish } from './way.ts';

export const SOURCES = ['camera', 'screen', 'canvas'] as const;
export const VIDEO_CODECS = ['auto', 'vp8', 'vp9', 'h264', 'av1'] as const;
export const RESOLUTIONS = ['360p', '480p', '720p', '1080p'] as const;
export const FRAME_RATES = [15, 24, 25, 30, 50, 60] as const;
export const SOUNDS = ['voice', 'music'] as const;

export type Source = (typeof SOURCES)[number];
export type VideoCodec = (typeof VIDEO_CODECS)[number];
export type Resolution = (typeof RESOLUTIONS)[number];
export type FrameRate = (typeof FRAME_RATES)[number];
/** `voice` lets the browser remove echo and noise (and with them one channel); `music` sends stereo as it is. */
export type Sound = (typeof SOUNDS)[number];

export interface Settings {
  source: Source;
  video: VideoCodec | 'off';
  audio: boolean;
  sound: Sound;
  resolution: Resolution;
  fps: FrameRate;
}

export const DEFAULTS: Settings = {
  source: 'camera',
  video: 'auto',
  audio: true,
  sound: 'voice',
  resolution: '720p',
  fps: 30,
};

export interface Asked {
  settings: Settings;
  autostart: boolean;
  via: ViaWish;
  /** Parameters that were given with a value nobody knows, as `name=value`. */
  unknown: string[];
}

function oneOf<T extends string | number>(list: readonly T[], text: string): T | undefined {
  return list.find((each) => String(each) === text.toLowerCase());
}

/** Reads the query; a wrong value is reported and the default stays. */
export function readQuery(query: string, defaults: Settings = DEFAULTS): Asked {
  const params = new URLSearchParams(query);
  const unknown: string[] = [];
  const pick = <T>(name: string, otherwise: T, parse: (text: string) => T | undefined): T => {
    const text = params.get(name);
    if (text === null) return otherwise;
    const value = parse(text);
    if (value === undefined) unknown.push(`${name}=${text}`);
    return value ?? otherwise;
  };
  const settings: Settings = {
    source: pick('source', defaults.source, (text) => oneOf(SOURCES, text)),
    video: pick('video', defaults.video, (text) => oneOf([...VIDEO_CODECS, 'off'] as const, text)),
    audio: pick('audio', defaults.audio, onOff),
    sound: pick('sound', defaults.sound, (text) => oneOf(SOUNDS, text)),
    resolution: pick('resolution', defaults.resolution, (text) => oneOf(RESOLUTIONS, text)),
    fps: pick('fps', defaults.fps, (text) => oneOf(FRAME_RATES, text)),
  };
  const autostart = pick('autostart', false, onOff);
  const via = pick('via', 'auto', (text) => oneOf(VIAS, text));
  return { settings, autostart, via, unknown };
}

export function onOff(text: string): boolean | undefined {
  if (/^(1|on|true|yes)$/i.test(text)) return true;
  if (/^(0|off|false|no)$/i.test(text)) return false;
  return undefined;
}

export interface Geometry {
  width: number;
  height: number;
}

const GEOMETRY: Record<Resolution, Geometry> = {
  '360p': { width: 640, height: 360 },
  '480p': { width: 854, height: 480 },
  '720p': { width: 1280, height: 720 },
  '1080p': { width: 1920, height: 1080 },
};

export function geometry(resolution: Resolution): Geometry {
  return GEOMETRY[resolution];
}

/** Bits per second that make 30 fps of moving content look clean, per resolution, in VP8 or H.264. */
const BITRATE_BPS: Record<Resolution, number> = {
  '360p': 800_000,
  '480p': 1_400_000,
  '720p': 2_500_000,
  '1080p': 5_000_000,
};

/** The most the encoder may use; the connection's own estimate goes below it when it has to. */
export function maxVideoBitrateBps(resolution: Resolution, fps: number, codec: VideoCodec): number {
  // Twice the frames cost about half more, since neighbours are more alike; VP9 and AV1 need about a quarter less.
  const forRate = fps >= 50 ? 1.5 : fps <= 15 ? 0.7 : 1;
  const forCodec = codec === 'vp9' || codec === 'av1' ? 0.75 : 1;
  return Math.round(BITRATE_BPS[resolution] * forRate * forCodec);
}

/** Opus in the browser: 48 kbit/s is transparent for speech, 128 kbit/s for stereo music. */
export function audioBitrateBps(stereo: boolean): number {
  return stereo ? 128_000 : 48_000;
}
