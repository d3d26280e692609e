/** The settings form: shows `Settings` and reads them back. */

import { bitrate } from '../pure/format.ts';
import {
  FRAME_RATES,
  maxVideoBitrateBps,
  RESOLUTIONS,
  type Settings,
  SOUNDS,
  SOURCES,
  VIDEO_CODECS,
  type VideoCodec,
} from '../pure/settings.ts';
import { byId, make, setText, show } from '../ui/dom.ts';
import type { DeviceChoice } from './capture.ts';

const CODEC_LABEL: Record<VideoCodec, string> = {
  auto: 'Automatic',
  vp8: 'VP8',
  vp9: 'VP9',
  h264: 'H.264',
  av1: 'AV1',
};

const CODEC_HELP: Record<VideoCodec, string> = {
  auto: 'The browser chooses.',
  vp8: 'Light on this device; the server re-encodes it for HLS.',
  vp9: 'Better picture per bit, more work for this device.',
  h264: 'The server can pass it through without re-encoding.',
  av1: 'Best picture per bit, most work for this device.',
};

export class SettingsForm {
  onChange: () => void = () => {};
  onDevice: () => void = () => {};

  readonly #radios = [...document.querySelectorAll<HTMLInputElement>('input[name="source"]')];
  readonly #audio = byId('audio', HTMLInputElement);
  readonly #audioLabel = byId('audio-label', HTMLElement);
  readonly #sound = byId('sound', HTMLSelectElement);
  readonly #resolution = byId('resolution', HTMLSelectElement);
  readonly #fps = byId('fps', HTMLSelectElement);
  readonly #codec = byId('codec', HTMLSelectElement);
  readonly #codecHelp = byId('codec-help', HTMLElement);
  readonly #camera = byId('camera', HTMLSelectElement);
  readonly #microphone = byId('microphone', HTMLSelectElement);
  readonly #form = byId('settings', HTMLFormElement);
  #settings: Settings;
  #devices: MediaDeviceInfo[] = [];

  /** @param codecs what this browser can send */
  constructor(settings: Settings, codecs: readonly VideoCodec[]) {
    this.#settings = settings;
    for (const resolution of RESOLUTIONS)
      this.#resolution.append(make('option', { value: resolution }, resolution));
    for (const fps of FRAME_RATES) this.#fps.append(make('option', { value: String(fps) }, `${fps} fps`));
    const offered = new Set<VideoCodec>(codecs);
    for (const codec of VIDEO_CODECS) {
      // A codec that the address asks for stays visible, so that its failure can be understood.
      if (offered.has(codec) || settings.video === codec) {
        this.#codec.append(make('option', { value: codec }, CODEC_LABEL[codec]));
      }
    }
    this.#write();
    this.#form.addEventListener('submit', (event) => event.preventDefault());
    this.#form.addEventListener('change', (event) => {
      if (event.target === this.#camera || event.target === this.#microphone) this.onDevice();
      else {
        this.#read();
        this.#write();
        this.onChange();
      }
    });
  }

  get settings(): Settings {
    return this.#settings;
  }

  get devices(): DeviceChoice {
    return { camera: this.#camera.value, microphone: this.#microphone.value };
  }

  /** While live only the devices can be changed. */
  lock(locked: boolean): void {
    for (const control of [
      ...this.#radios,
      this.#audio,
      this.#sound,
      this.#resolution,
      this.#fps,
      this.#codec,
    ]) {
      control.disabled = locked;
    }
    if (!locked) this.#write();
  }

  /** Fills the pickers; names are known only after a permission was given. */
  async listDevices(): Promise<void> {
    const media = navigator.mediaDevices as MediaDevices | undefined;
    if (media === undefined) return;
    this.#devices = await media.enumerateDevices();
    this.#fill(this.#camera, 'videoinput', 'Camera');
    this.#fill(this.#microphone, 'audioinput', 'Microphone');
    this.#showRows();
  }

  /** The device that a track really came from becomes the chosen one. */
  select(track: MediaStreamTrack): void {
    const { deviceId } = track.getSettings();
    const picker = track.kind === 'video' ? this.#camera : this.#microphone;
    if (deviceId !== undefined && [...picker.options].some((option) => option.value === deviceId))
      picker.value = deviceId;
  }

  #fill(picker: HTMLSelectElement, kind: MediaDeviceKind, noun: string): void {
    const chosen = picker.value;
    const devices = this.#devices.filter((device) => device.kind === kind && device.deviceId !== '');
    picker.replaceChildren(
      ...devices.map((device, i) =>
        make('option', { value: device.deviceId }, device.label || `${noun} ${i + 1}`),
      ),
    );
    if (devices.some((device) => device.deviceId === chosen)) picker.value = chosen;
  }

  #read(): void {
    const picked = this.#radios.find((radio) => radio.checked)?.value;
    const source = SOURCES.find((each) => each === picked);
    const codec = VIDEO_CODECS.find((each) => each === this.#codec.value) ?? 'auto';
    const soundOnly = picked === 'none';
    // "Sound only" keeps its kind of sound: the tone of the test picture, or the microphone.
    const from = source ?? (this.#settings.source === 'canvas' ? 'canvas' : 'camera');
    this.#settings = {
      source: from,
      video: soundOnly ? 'off' : codec,
      audio: this.#audio.checked || soundOnly,
      sound: SOUNDS.find((each) => each === this.#sound.value) ?? 'voice',
      resolution: RESOLUTIONS.find((each) => each === this.#resolution.value) ?? '720p',
      fps: FRAME_RATES.find((each) => String(each) === this.#fps.value) ?? 30,
    };
  }

  #write(): void {
    const { source, video, audio, sound, resolution, fps } = this.#settings;
    const picked = video === 'off' ? 'none' : source;
    for (const radio of this.#radios) radio.checked = radio.value === picked;
    this.#audio.checked = audio;
    this.#sound.value = sound;
    this.#resolution.value = resolution;
    this.#fps.value = String(fps);
    if (video !== 'off') this.#codec.value = video;
    const picture = video !== 'off';
    for (const control of [this.#resolution, this.#fps, this.#codec]) control.disabled = !picture;
    setText(this.#audioLabel, source === 'canvas' ? 'Test tone' : 'Microphone');
    const rate = picture ? ` Up to ${bitrate(maxVideoBitrateBps(resolution, fps, video))}.` : '';
    setText(this.#codecHelp, picture ? `${CODEC_HELP[video]}${rate}` : 'No picture is sent.');
    this.#showRows();
  }

  #showRows(): void {
    const { source, video, audio } = this.#settings;
    const microphone = audio && source !== 'canvas';
    show(
      byId('camera-row', HTMLElement),
      source === 'camera' && video !== 'off' && this.#camera.options.length > 1,
    );
    show(byId('microphone-row', HTMLElement), microphone && this.#microphone.options.length > 1);
    show(byId('sound-row', HTMLElement), microphone);
  }
}
