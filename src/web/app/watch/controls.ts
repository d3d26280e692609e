/** The bar under the picture: play, mute, volume, live, picture in picture, full screen, and their keys. */

import { byId, show } from '../ui/dom.ts';

const REST_AFTER_MS = 3_000;

/** Paths in a 24 x 24 box. */
const ICONS = {
  play: 'M7 4.5v15a1 1 0 0 0 1.5.86l12.5-7.5a1 1 0 0 0 0-1.72L8.5 3.64A1 1 0 0 0 7 4.5z',
  pause: 'M6 4h4v16H6zM14 4h4v16h-4z',
  sound:
    'M4 9v6h4l5 4V5L8 9zM16 8.2a1 1 0 0 1 1.4 0 5.4 5.4 0 0 1 0 7.6A1 1 0 0 1 16 14.4a3.4 3.4 0 0 0 0-4.8 1 1 0 0 1 0-1.4z',
  muted:
    'M4 9v6h4l5 4V5L8 9zM15.8 9.2 17.2 7.8 19.3 9.9 21.4 7.8 22.8 9.2 20.7 11.3 22.8 13.4 21.4 14.8 19.3 12.7 17.2 14.8 15.8 13.4 17.9 11.3z',
  fullscreen: 'M4 4h6v2H6v4H4zM14 4h6v6h-2V6h-4zM4 14h2v4h4v2H4zM18 14h2v6h-6v-2h4z',
  small: 'M8 4h2v6H4V8h4zM14 4h2v4h4v2h-6zM4 14h6v6H8v-4H4zM14 14h6v2h-4v4h-2z',
  pip: 'M3 5h18v14H3zM5 7v10h14V7zM12 11.5h6v4.5h-6z',
  settings:
    'M4 6h7v2H4zM16 6h4v2h-4zM11 4.5h3.5v5H11zM4 11h2v2H4zM11 11h9v2h-9zM6 9.5h3.5v5H6zM4 16h9v2H4zM18 16h2v2h-2zM13 14.5h3.5v5H13z',
} as const;

/** Safari's own full screen for video on iPhones, which have no other. */
interface AppleVideo {
  webkitEnterFullscreen?: () => void;
}

export interface ControlEvents {
  onPlay(): void;
  onPause(): void;
  onLive(): void;
  /** True when the key was of use. */
  onArrow(key: string): boolean;
}

export class Controls {
  readonly #video: HTMLVideoElement;
  readonly #player = byId('player', HTMLElement);
  readonly #play = byId('play', HTMLButtonElement);
  readonly #mute = byId('mute', HTMLButtonElement);
  readonly #volume = byId('volume', HTMLInputElement);
  readonly #fullscreen = byId('fullscreen', HTMLButtonElement);
  readonly #pip = byId('pip', HTMLButtonElement);
  readonly #unmute = byId('unmute', HTMLButtonElement);
  readonly #events: ControlEvents;
  #restTimer: number | undefined;
  /** Means to play, whether or not a picture flows at the moment. */
  #playing = false;

  constructor(video: HTMLVideoElement, events: ControlEvents) {
    this.#video = video;
    this.#events = events;
    this.#wireSound();
    this.#wireScreen();
    this.#play.addEventListener('click', () => this.#togglePlay());
    video.addEventListener('click', () => this.#togglePlay());
    byId('live', HTMLButtonElement).addEventListener('click', () => events.onLive());
    document.addEventListener('keydown', (event) => this.#onKey(event));
    this.showPlaying(false);
  }

  showPlaying(playing: boolean): void {
    this.#playing = playing;
    setIcon(this.#play, playing ? 'pause' : 'play', playing ? 'Pause' : 'Play');
  }

  /** The browser took the sound: offer the way back where nobody can miss it. */
  offerSound(): void {
    show(this.#unmute, true);
  }

  #togglePlay(): void {
    if (this.#playing) this.#events.onPause();
    else this.#events.onPlay();
  }

  #setMuted(muted: boolean): void {
    this.#video.muted = muted;
    if (!muted && this.#video.volume === 0) this.#video.volume = 1;
  }

  #wireSound(): void {
    const video = this.#video;
    this.#mute.addEventListener('click', () => this.#setMuted(!video.muted));
    this.#unmute.addEventListener('click', () => this.#setMuted(false));
    this.#volume.addEventListener('input', () => {
      video.volume = Number(this.#volume.value);
      video.muted = video.volume === 0;
    });
    const update = (): void => {
      setIcon(this.#mute, video.muted ? 'muted' : 'sound', 'Mute');
      this.#mute.setAttribute('aria-pressed', String(video.muted));
      this.#volume.value = String(video.muted ? 0 : video.volume);
      if (!video.muted) show(this.#unmute, false);
    };
    video.addEventListener('volumechange', update);
    update();
  }

  #wireScreen(): void {
    const video = this.#video;
    setIcon(this.#pip, 'pip', 'Picture in picture');
    show(this.#pip, document.pictureInPictureEnabled === true);
    this.#pip.addEventListener('click', () => void this.#togglePip());
    const canFullscreen =
      document.fullscreenEnabled === true || (video as AppleVideo).webkitEnterFullscreen !== undefined;
    show(this.#fullscreen, canFullscreen);
    this.#fullscreen.addEventListener('click', () => void this.#toggleFullscreen());
    const update = (): void => {
      const full = document.fullscreenElement !== null;
      setIcon(this.#fullscreen, full ? 'small' : 'fullscreen', full ? 'Leave full screen' : 'Full screen');
      this.#wake();
    };
    document.addEventListener('fullscreenchange', update);
    for (const event of ['pointermove', 'pointerdown', 'focusin'] as const) {
      this.#player.addEventListener(event, () => this.#wake());
    }
    update();
  }

  /** In full screen the bar goes away when nothing moves. */
  #wake(): void {
    this.#player.classList.remove('resting');
    window.clearTimeout(this.#restTimer);
    this.#restTimer = window.setTimeout(() => this.#player.classList.add('resting'), REST_AFTER_MS);
  }

  async #toggleFullscreen(): Promise<void> {
    if (document.fullscreenElement !== null) {
      await document.exitFullscreen();
    } else if (document.fullscreenEnabled) {
      await this.#player.requestFullscreen();
    } else {
      (this.#video as AppleVideo).webkitEnterFullscreen?.();
    }
  }

  async #togglePip(): Promise<void> {
    try {
      if (document.pictureInPictureElement !== null) await document.exitPictureInPicture();
      else await this.#video.requestPictureInPicture();
    } catch {
      // There is no picture yet, or there is only sound.
    }
  }

  #onKey(event: KeyboardEvent): void {
    const { target } = event;
    // Space on a button presses it, and fields want their letters.
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (target instanceof HTMLElement && target.closest('input, select, textarea, button, a') !== null)
      return;
    if (event.key === ' ' || event.key === 'k') this.#togglePlay();
    else if (event.key === 'm') this.#setMuted(!this.#video.muted);
    else if (event.key === 'f') void this.#toggleFullscreen();
    else if (!isArrow(event.key) || !this.#events.onArrow(event.key)) return;
    event.preventDefault();
  }
}

function isArrow(key: string): boolean {
  return key === 'ArrowLeft' || key === 'ArrowRight';
}

export function setIcon(button: HTMLButtonElement, icon: keyof typeof ICONS, label: string): void {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('width', '24');
  svg.setAttribute('height', '24');
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  path.setAttribute('fill', 'currentColor');
  path.setAttribute('fill-rule', 'evenodd');
  path.setAttribute('d', ICONS[icon]);
  svg.append(path);
  button.replaceChildren(svg);
  button.setAttribute('aria-label', label);
  button.title = label;
}
