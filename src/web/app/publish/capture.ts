/** Gets hold of what is to be sent: camera, screen, test picture; microphone, screen sound, test tone. */

import {
  type Device,
  deviceFailure,
  type Failure,
  insecurePage,
  nothingToSend,
  unsupportedSource,
} from '../pure/failures.ts';
import { geometry, type Settings } from '../pure/settings.ts';
import { testPicture, testTone } from './testpicture.ts';

export class CaptureFailed extends Error {
  readonly failure: Failure;

  constructor(failure: Failure) {
    super(failure.title);
    this.failure = failure;
  }
}

export interface Capture {
  video: MediaStreamTrack | null;
  audio: MediaStreamTrack | null;
  stereo: boolean;
  /** What `settings` and devices this was made for, to see whether it still fits. */
  key: string;
  stop(): void;
}

export interface DeviceChoice {
  camera: string;
  microphone: string;
}

export interface CaptureOptions {
  settings: Settings;
  devices: DeviceChoice;
  stream: string;
  /** The test tone without pauses (`?tone=steady`), for measurements. */
  steadyTone: boolean;
  audioContext(): AudioContext;
}

export function captureKey({ settings, devices }: Pick<CaptureOptions, 'settings' | 'devices'>): string {
  const { source, video, audio, sound, resolution, fps } = settings;
  return JSON.stringify([
    source,
    video === 'off',
    audio,
    sound,
    resolution,
    fps,
    devices.camera,
    devices.microphone,
  ]);
}

export async function capture(options: CaptureOptions): Promise<Capture> {
  const { settings } = options;
  if (settings.video === 'off' && !settings.audio) throw new CaptureFailed(nothingToSend());
  const cleanups: (() => void)[] = [];
  const stop = (): void => {
    for (const cleanup of cleanups.splice(0)) cleanup();
  };
  try {
    const tracks = await open(options, cleanups);
    const stereo = tracks.audio !== null && (settings.source === 'canvas' || settings.sound === 'music');
    return { ...tracks, stereo, key: captureKey(options), stop };
  } catch (error) {
    stop();
    throw error;
  }
}

interface Tracks {
  video: MediaStreamTrack | null;
  audio: MediaStreamTrack | null;
}

async function open(options: CaptureOptions, cleanups: (() => void)[]): Promise<Tracks> {
  const { settings } = options;
  const picture = settings.video !== 'off';
  if (settings.source === 'canvas') return openTest(options, picture, cleanups);
  if (settings.source === 'screen' && picture) return openScreen(options, cleanups);
  const stream = await userMedia(options, picture, settings.audio);
  cleanups.push(() => stopAll(stream));
  return { video: stream.getVideoTracks()[0] ?? null, audio: stream.getAudioTracks()[0] ?? null };
}

function openTest(options: CaptureOptions, picture: boolean, cleanups: (() => void)[]): Tracks {
  const { settings, stream } = options;
  const tracks: Tracks = { video: null, audio: null };
  if (picture) {
    const test = testPicture(settings.resolution, settings.fps, stream);
    cleanups.push(() => test.stop());
    tracks.video = test.track;
  }
  if (settings.audio) {
    const tone = testTone(options.audioContext(), options.steadyTone);
    cleanups.push(() => tone.stop());
    tracks.audio = tone.track;
  }
  return tracks;
}

async function openScreen(options: CaptureOptions, cleanups: (() => void)[]): Promise<Tracks> {
  const { settings } = options;
  const devices = requireDevices();
  if (typeof devices.getDisplayMedia !== 'function') throw new CaptureFailed(unsupportedSource('screen'));
  const { width, height } = geometry(settings.resolution);
  let screen: MediaStream;
  try {
    screen = await devices.getDisplayMedia({
      video: { width: { max: width }, height: { max: height }, frameRate: { max: settings.fps } },
      audio: settings.audio,
    });
  } catch (error) {
    throw new CaptureFailed(deviceFailure(nameOf(error), ['screen']));
  }
  cleanups.push(() => stopAll(screen));
  const video = screen.getVideoTracks()[0] ?? null;
  // Slides and text want sharp edges; anything faster is a film or a game and wants its motion.
  if (video !== null) video.contentHint = settings.fps <= 15 ? 'detail' : 'motion';
  if (!settings.audio) return { video, audio: null };
  const microphone = await userMedia(options, false, true);
  cleanups.push(() => stopAll(microphone));
  if (screen.getAudioTracks().length === 0) return { video, audio: microphone.getAudioTracks()[0] ?? null };
  return { video, audio: mix(options.audioContext(), [screen, microphone], cleanups) };
}

/** The screen's own sound and the microphone as one track. */
function mix(audio: AudioContext, streams: MediaStream[], cleanups: (() => void)[]): MediaStreamTrack | null {
  const destination = new MediaStreamAudioDestinationNode(audio, { channelCount: 2 });
  const sources = streams.map((stream) => new MediaStreamAudioSourceNode(audio, { mediaStream: stream }));
  for (const source of sources) source.connect(destination);
  cleanups.push(() => {
    for (const source of sources) source.disconnect();
    stopAll(destination.stream);
  });
  return destination.stream.getAudioTracks()[0] ?? null;
}

async function userMedia(
  options: CaptureOptions,
  camera: boolean,
  microphone: boolean,
): Promise<MediaStream> {
  const { settings, devices } = options;
  const { width, height } = geometry(settings.resolution);
  const constraints: MediaStreamConstraints = {};
  if (camera) {
    constraints.video = {
      width: { ideal: width },
      height: { ideal: height },
      frameRate: { ideal: settings.fps },
      ...(devices.camera === '' ? {} : { deviceId: { exact: devices.camera } }),
    };
  }
  if (microphone) {
    const clean = settings.sound === 'voice';
    constraints.audio = {
      echoCancellation: clean,
      noiseSuppression: clean,
      autoGainControl: clean,
      ...(clean ? {} : { channelCount: { ideal: 2 } }),
      ...(devices.microphone === '' ? {} : { deviceId: { exact: devices.microphone } }),
    };
  }
  try {
    return await requireDevices().getUserMedia(constraints);
  } catch (error) {
    if (error instanceof CaptureFailed) throw error;
    throw new CaptureFailed(deviceFailure(nameOf(error), await culprits(nameOf(error), camera, microphone)));
  }
}

/** Which of the devices asked for is meant by an error: the browser names none, but the list shows what is missing. */
async function culprits(name: string, camera: boolean, microphone: boolean): Promise<Device[]> {
  const asked: Device[] = [
    ...(camera ? ['camera' as const] : []),
    ...(microphone ? ['microphone' as const] : []),
  ];
  if (name !== 'NotFoundError' || asked.length < 2) return asked;
  const present = await navigator.mediaDevices.enumerateDevices();
  const missing = asked.filter((device) => {
    const kind = device === 'camera' ? 'videoinput' : 'audioinput';
    return !present.some((each) => each.kind === kind);
  });
  return missing.length > 0 ? missing : asked;
}

function requireDevices(): MediaDevices {
  // Absent outside of secure contexts, whatever the DOM library's types say.
  const devices = navigator.mediaDevices as MediaDevices | undefined;
  if (devices === undefined) throw new CaptureFailed(insecurePage(window.location.origin));
  return devices;
}

function nameOf(error: unknown): string {
  return error instanceof DOMException || error instanceof Error ? error.name : 'UnknownError';
}

function stopAll(stream: MediaStream): void {
  for (const track of stream.getTracks()) track.stop();
}
