/** `/publish/{stream}`: send camera, screen or test picture. */

import { type Capture, CaptureFailed, type CaptureOptions, capture, captureKey } from './publish/capture.ts';
import { SettingsForm } from './publish/form.ts';
import { Meter } from './publish/meter.ts';
import { Publisher, type PublishState } from './publish/publisher.ts';
import { showReadout, showViewers } from './publish/readout.ts';
import { isRecordable } from './publish/recording.ts';
import { WakeLock } from './publish/wakelock.ts';
import { sendable } from './pure/codecs.ts';
import { deviceFailure, type Failure, sourceEnded } from './pure/failures.ts';
import { paths, streamFromPath, tokenFromQuery } from './pure/names.ts';
import { recordable } from './pure/recordercodecs.ts';
import { readQuery } from './pure/settings.ts';
import { firstVia, noVia, type Via, type ViaWish, viaReason, viaWords } from './pure/way.ts';
import { ApiClosed, getStream } from './ui/api.ts';
import { copyButton } from './ui/copy.ts';
import { byId, setText, show, whileVisible } from './ui/dom.ts';

const READOUT_MS = 1_000;
const VIEWERS_MS = 3_000;

const BADGE: Record<PublishState, [string, string]> = {
  idle: ['Off air', ''],
  connecting: ['Connecting', 'warn'],
  live: ['Live', 'live'],
  reconnecting: ['Reconnecting', 'warn'],
  failed: ['Off air', ''],
  stopped: ['Off air', ''],
};

class PublishPage {
  readonly #stream: string;
  readonly #form: SettingsForm;
  readonly #publisher: Publisher;
  readonly #steadyTone: boolean;
  readonly #wish: ViaWish;
  readonly #meter = new Meter(byId('level', HTMLElement));
  readonly #wakeLock = new WakeLock();
  readonly #preview = byId('preview', HTMLVideoElement);
  readonly #placeholder = byId('placeholder', HTMLElement);
  readonly #go = byId('go', HTMLButtonElement);
  readonly #mute = byId('mute', HTMLButtonElement);
  readonly #blank = byId('blank', HTMLButtonElement);
  readonly #notice = byId('notice', HTMLElement);
  readonly #key = byId('key', HTMLInputElement);
  #capture: Capture | null = null;
  /** Captures are made one at a time; a newer wish waits for the one before. */
  #capturing: Promise<unknown> = Promise.resolve();
  #audioContext: AudioContext | null = null;
  #liveSinceMs = 0;
  /** Between the press of the button and the first step of the publisher. */
  #starting = false;
  #apiClosed = false;
  #viaReason = '';

  constructor(stream: string) {
    this.#stream = stream;
    const asked = readQuery(window.location.search);
    this.#steadyTone = new URLSearchParams(window.location.search).get('tone') === 'steady';
    this.#wish = asked.via;
    const codecs = { webrtc: sendable(sendCapabilities()), webm: recordable(isRecordable) };
    const via = firstVia(asked.via, { webrtc: hasWebRtc(), webm: codecs.webm.length > 0 });
    this.#form = new SettingsForm(asked.settings, codecs[via ?? 'webrtc']);
    this.#publisher = new Publisher(stream, asked.via, {
      onState: (state, failure) => this.#show(state, failure),
      onRefusedKinds: (kinds) =>
        this.#say(`The server does not take the ${kinds.map(kindWord).join(' and the ')}.`),
      onVia: (chosen, leftFor) => this.#showVia(chosen, leftFor),
    });
    this.#key.value = tokenFromQuery(window.location.search) ?? '';
    this.#fillLinks();
    this.#wire();
    this.#show('idle', null);
    if (asked.unknown.length > 0) this.#say(`Not understood in the address: ${asked.unknown.join(', ')}`);
    if (via === null) {
      this.#go.disabled = true;
      this.#show('failed', noVia(asked.via));
    } else if (asked.autostart) {
      void this.#start();
    } else {
      void this.#previewIfHarmless();
    }
  }

  #fillLinks(): void {
    const watch = new URL(paths.watch(this.#stream), window.location.href).href;
    const hls = new URL(paths.hls(this.#stream), window.location.href).href;
    document.title = `Publish ${this.#stream} · Skywave`;
    setText(byId('stream-name', HTMLElement), this.#stream);
    byId('watch-url', HTMLInputElement).value = watch;
    byId('hls-url', HTMLInputElement).value = hls;
    byId('open-watch', HTMLAnchorElement).href = watch;
    copyButton(byId('copy-watch', HTMLButtonElement), () => watch);
    copyButton(byId('copy-hls', HTMLButtonElement), () => hls);
  }

  #wire(): void {
    this.#go.addEventListener('click', () => {
      if (this.#publisher.running) this.#publisher.stop();
      else void this.#start();
    });
    byId('preview-button', HTMLButtonElement).addEventListener('click', () => void this.#refresh());
    this.#mute.addEventListener('click', () => this.#toggle('audio'));
    this.#blank.addEventListener('click', () => this.#toggle('video'));
    // The key is no setting of the capture: a new one opens no camera anew.
    this.#key.addEventListener('change', (event) => event.stopPropagation());
    this.#form.onChange = () => void this.#settingsChanged();
    this.#form.onDevice = () => void this.#deviceChanged();
    // Browsers start sound only after a touch; the test tone and the level wait for it.
    document.addEventListener('pointerdown', () => void this.#audioContext?.resume());
    document.addEventListener('keydown', () => void this.#audioContext?.resume());
    navigator.mediaDevices?.addEventListener('devicechange', () => void this.#form.listDevices());
    window.addEventListener('pagehide', () => this.#publisher.stop(null, true));
    window.setInterval(() => void this.#readout(), READOUT_MS);
    whileVisible(VIEWERS_MS, () => this.#countViewers());
  }

  /** Shows the picture at once where that asks nothing of the person: the test picture, or a permission given before. */
  async #previewIfHarmless(): Promise<void> {
    const { source, video, audio } = this.#form.settings;
    if (source === 'screen' && video !== 'off') return;
    if (
      source === 'canvas' ||
      ((video === 'off' || (await granted('camera'))) && (!audio || (await granted('microphone'))))
    ) {
      await this.#refresh();
    }
  }

  async #settingsChanged(): Promise<void> {
    if (this.#capture !== null && this.#capture.key !== this.#captureKey()) this.#drop();
    this.#showFailure(null);
    if (!this.#publisher.running) await this.#previewIfHarmless();
  }

  async #deviceChanged(): Promise<void> {
    if (this.#capture === null) return;
    const muted = { video: this.#isOff('video'), audio: this.#isOff('audio') };
    const fresh = await this.#refresh();
    if (fresh === null) return;
    for (const track of [fresh.video, fresh.audio]) {
      if (track === null) continue;
      track.enabled = !muted[track.kind as 'audio' | 'video'];
      await this.#publisher.replaceTrack(track);
    }
  }

  #captureKey(): string {
    return captureKey({ settings: this.#form.settings, devices: this.#form.devices });
  }

  #drop(): void {
    this.#capture?.stop();
    this.#capture = null;
    this.#meter.hide();
    this.#preview.srcObject = null;
    this.#showPlaceholder();
  }

  /** Captures with the settings as they are now; null when that failed (and was shown). */
  #refresh(): Promise<Capture | null> {
    const next = this.#capturing.then(() => this.#recapture());
    this.#capturing = next;
    return next;
  }

  async #recapture(): Promise<Capture | null> {
    // A camera cannot be opened twice with two resolutions: let go of it first.
    this.#drop();
    this.#showFailure(null);
    const options: CaptureOptions = {
      settings: this.#form.settings,
      devices: this.#form.devices,
      stream: this.#stream,
      steadyTone: this.#steadyTone,
      audioContext: () => this.#sounds(),
    };
    try {
      this.#capture = await capture(options);
    } catch (error) {
      const failure = error instanceof CaptureFailed ? error.failure : deviceFailure(String(error), []);
      if (this.#publisher.running) this.#publisher.stop(failure);
      else this.#show('failed', failure);
      return null;
    }
    await this.#form.listDevices();
    this.#adopt(this.#capture);
    return this.#capture;
  }

  /** Shows a new capture, and notices its end. */
  #adopt(fresh: Capture): void {
    const { settings } = this.#form;
    for (const track of [fresh.video, fresh.audio]) {
      if (track === null) continue;
      if (settings.source !== 'canvas') this.#form.select(track);
      track.addEventListener('ended', () => {
        if (this.#capture !== fresh) return;
        const failure = sourceEnded(track.kind === 'video' ? 'picture' : 'sound');
        if (this.#publisher.running) this.#publisher.stop(failure);
        else this.#showFailure(failure);
        this.#drop();
      });
    }
    // The picker now names the device that was opened.
    fresh.key = this.#captureKey();
    if (fresh.video !== null) {
      this.#preview.srcObject = new MediaStream([fresh.video]);
      // People expect to see themselves as in a mirror; viewers get the picture as it is.
      const facing = fresh.video.getSettings().facingMode;
      this.#preview.classList.toggle('mirrored', settings.source === 'camera' && facing === 'user');
    }
    if (fresh.audio !== null) this.#meter.show(this.#sounds(), fresh.audio);
    this.#showPlaceholder();
  }

  #sounds(): AudioContext {
    this.#audioContext ??= new AudioContext({ sampleRate: 48_000 });
    void this.#audioContext.resume();
    return this.#audioContext;
  }

  async #start(): Promise<void> {
    if (this.#starting || this.#publisher.running) return;
    this.#starting = true;
    try {
      setData('errorCode', null);
      setData('error', null);
      await this.#capturing;
      const fits = this.#capture !== null && this.#capture.key === this.#captureKey();
      const ready = fits ? this.#capture : await this.#refresh();
      if (ready === null) return;
      this.#enable(ready);
      const { video, audio, stereo } = ready;
      const token = this.#key.value.trim() || null;
      this.#publisher.start({ video, audio, stereo, settings: this.#form.settings }, token);
    } finally {
      this.#starting = false;
    }
  }

  #enable({ video, audio }: Capture): void {
    for (const track of [video, audio]) if (track !== null) track.enabled = true;
    this.#showToggles();
  }

  #isOff(kind: 'audio' | 'video'): boolean {
    const track = kind === 'audio' ? this.#capture?.audio : this.#capture?.video;
    return track !== undefined && track !== null && !track.enabled;
  }

  #toggle(kind: 'audio' | 'video'): void {
    const track = kind === 'audio' ? this.#capture?.audio : this.#capture?.video;
    if (!track) return;
    track.enabled = !track.enabled;
    this.#showToggles();
  }

  #showToggles(): void {
    const live = this.#publisher.running;
    show(this.#mute, live && this.#capture?.audio != null);
    show(this.#blank, live && this.#capture?.video != null);
    this.#mute.setAttribute('aria-pressed', String(this.#isOff('audio')));
    setText(this.#mute, this.#isOff('audio') ? 'Sound is off' : 'Mute sound');
    this.#blank.setAttribute('aria-pressed', String(this.#isOff('video')));
    setText(this.#blank, this.#isOff('video') ? 'Picture is off' : 'Hide picture');
  }

  #showPlaceholder(): void {
    const { source, video } = this.#form.settings;
    show(this.#placeholder, this.#capture?.video == null);
    const soundOnly = video === 'off';
    setText(
      byId('placeholder-text', HTMLElement),
      soundOnly
        ? 'Sound only: no picture is sent.'
        : source === 'screen'
          ? 'Press Go live and choose what to share.'
          : 'Your picture appears here.',
    );
    show(byId('preview-button', HTMLElement), this.#capture === null && !soundOnly && source !== 'screen');
  }

  #show(state: PublishState, failure: Failure | null): void {
    const running = this.#publisher?.running ?? false;
    const { body } = document;
    body.dataset['state'] = state;
    setData('session', this.#publisher?.location ?? null);
    const badge = byId('badge', HTMLElement);
    setText(badge, BADGE[state][0]);
    badge.dataset['tone'] = BADGE[state][1];
    setText(this.#go, running ? 'Stop' : 'Go live');
    this.#go.classList.toggle('stop', running);
    this.#go.classList.toggle('primary', !running);
    this.#form.lock(running);
    this.#key.disabled = running;
    this.#wakeLock.set(running);
    if (state === 'live') this.#liveSinceMs ||= Date.now();
    if (!running) this.#liveSinceMs = 0;
    show(
      byId('readout', HTMLElement),
      state === 'live' || (state === 'reconnecting' && this.#liveSinceMs > 0),
    );
    if (state === 'connecting' || (!running && this.#notice.textContent === this.#viaReason)) this.#say('');
    this.#showFailure(failure);
    this.#showToggles();
    this.#showPlaceholder();
  }

  #showFailure(failure: Failure | null): void {
    setData('errorCode', failure?.code ?? null);
    setData('error', failure === null ? null : `${failure.title} ${failure.hint}`);
    setText(byId('failure-title', HTMLElement), failure?.title ?? '');
    setText(byId('failure-hint', HTMLElement), failure?.hint ?? '');
    show(byId('failure', HTMLElement), failure !== null);
  }

  /** Says by which way it goes, and under the picture also why. */
  #showVia(via: Via, leftFor: Failure | null): void {
    setData('via', via);
    this.#viaReason = viaReason(via, this.#wish, leftFor);
    setText(byId('r-via', HTMLElement), viaWords(via));
    this.#say(this.#viaReason);
  }

  #say(text: string): void {
    setText(this.#notice, text);
    show(this.#notice, text !== '');
  }

  async #readout(): Promise<void> {
    const { source, audio } = this.#form.settings;
    const silent = source === 'canvas' && audio && this.#audioContext?.state === 'suspended';
    if (silent && this.#publisher.running) this.#say('Tap anywhere to switch the test tone on.');
    else if (/^Tap/.test(this.#notice.textContent ?? '')) this.#say(this.#viaReason);
    const readout = await this.#publisher.readout();
    if (readout === null || this.#publisher.state !== 'live') return;
    latest = readout;
    showReadout(readout, (Date.now() - this.#liveSinceMs) / 1000);
  }

  async #countViewers(): Promise<void> {
    if (this.#apiClosed || this.#publisher.state !== 'live') return;
    try {
      showViewers((await getStream(this.#stream))?.viewers ?? null);
    } catch (error) {
      // The audience is nice to know; the broadcast goes on without.
      this.#apiClosed = error instanceof ApiClosed;
      showViewers(null);
    }
  }

  /** For tests and debugging. */
  debug(): object {
    const publisher = this.#publisher;
    return {
      stats: () => latest,
      restartIce: () => publisher.restartIce(),
      /** `webrtc` or `webm`: the way of this run, or of the last one; null before the first. */
      get via() {
        return publisher.via;
      },
    };
  }
}

/** The last readout, for tests and debugging. */
let latest: unknown = null;

function hasWebRtc(): boolean {
  return typeof RTCPeerConnection !== 'undefined';
}

/** What this browser can send by WebRTC; nothing without it. */
function sendCapabilities(): RTCRtpCodec[] {
  if (typeof RTCRtpSender === 'undefined') return [];
  return RTCRtpSender.getCapabilities('video')?.codecs ?? [];
}

function kindWord(kind: string): string {
  return kind === 'video' ? 'picture' : 'sound';
}

function setData(name: string, value: string | null): void {
  if (value === null) delete document.body.dataset[name];
  else document.body.dataset[name] = value;
}

/** Firefox knows no such permission names and throws; then nobody has been asked before, as far as we can tell. */
async function granted(name: 'camera' | 'microphone'): Promise<boolean> {
  try {
    const status = await navigator.permissions.query({ name: name as PermissionName });
    return status.state === 'granted';
  } catch {
    return false;
  }
}

const stream = streamFromPath(window.location.pathname);
if (stream === null) window.location.replace('/');
else Object.defineProperty(window, 'skywave', { value: new PublishPage(stream).debug() });
