/** `/watch/{stream}`: the player. */

import { type PathName, pathOrder } from './pure/choose.ts';
import { bitrate, latency, size } from './pure/format.ts';
import { paths, streamFromPath } from './pure/names.ts';
import { onOff } from './pure/settings.ts';
import { getStream, type StreamInfo } from './ui/api.ts';
import { copyButton } from './ui/copy.ts';
import { byId, setText, show, whileVisible } from './ui/dom.ts';
import { Controls } from './watch/controls.ts';
import { HlsjsPath, hlsjsIsSupported } from './watch/hlsjs.ts';
import { NativePath } from './watch/native.ts';
import type { PlaybackPath } from './watch/path.ts';
import { pictureDelayMs } from './watch/pictureclock.ts';
import { Player, type WatchState } from './watch/player.ts';

const READOUT_MS = 500;
const INFO_MS = 3_000;

const BADGE: Record<WatchState, [string, string]> = {
  idle: ['Paused', ''],
  offline: ['Off air', ''],
  loading: ['Loading', ''],
  playing: ['Live', 'live'],
  stalled: ['Waiting for data', 'warn'],
  failed: ['Trouble', 'warn'],
};

class WatchPage {
  readonly #stream: string;
  readonly #hlsUrl: string;
  readonly #video = byId('video', HTMLVideoElement);
  readonly #player: Player;
  readonly #controls: Controls;
  #info: StreamInfo | null = null;

  constructor(stream: string) {
    this.#stream = stream;
    this.#hlsUrl = new URL(paths.hls(stream), window.location.href).href;
    const query = new URLSearchParams(window.location.search);
    const asked = (name: string): boolean | undefined => onOff(query.get(name) ?? '');
    const order = pathOrder(
      {
        vendor: navigator.vendor,
        mse: hlsjsIsSupported(),
        nativeHls: this.#video.canPlayType('application/vnd.apple.mpegurl') !== '',
      },
      query.get('player'),
    );
    this.#player = new Player(stream, this.#video, () => order.map((name) => this.#makePath(name)), {
      onState: (state, detail) => this.#show(state, detail),
      onMutedByBrowser: () => this.#controls.offerSound(),
    });
    this.#controls = new Controls(this.#video, {
      onPlay: () => this.#player.resume(),
      onPause: () => {
        this.#video.pause();
        this.#player.stop();
      },
      onLive: () => this.#player.path?.seekToLive(),
    });
    this.#video.muted = asked('muted') ?? false;
    this.#fillPage();
    byId('big-play', HTMLButtonElement).addEventListener('click', () => this.#player.start());
    byId('again', HTMLButtonElement).addEventListener('click', () => this.#player.start());
    this.#video.addEventListener('pause', () => this.#controls.showPlaying(false));
    this.#video.addEventListener('play', () => this.#controls.showPlaying(true));
    window.setInterval(() => this.#readout(), READOUT_MS);
    whileVisible(INFO_MS, () => this.#askForInfo());
    this.#show('idle', '');
    if (asked('autoplay') ?? true) this.#player.start();
  }

  /** The ways to play, best first. */
  #makePath(name: PathName): PlaybackPath {
    return name === 'hls.js' ? new HlsjsPath(this.#hlsUrl) : new NativePath(this.#hlsUrl);
  }

  #fillPage(): void {
    const stream = this.#stream;
    document.title = `${stream} · Skywave`;
    setText(byId('stream-name', HTMLElement), stream);
    byId('offline-publish', HTMLAnchorElement).href = paths.publish(stream);
    const fields = [
      ['hls-url', 'copy-hls', this.#hlsUrl],
      ['vlc-line', 'copy-vlc', `vlc ${this.#hlsUrl}`],
      ['ffplay-line', 'copy-ffplay', `ffplay ${this.#hlsUrl}`],
    ] as const;
    for (const [field, button, text] of fields) {
      byId(field, HTMLInputElement).value = text;
      copyButton(byId(button, HTMLButtonElement), () => text);
    }
  }

  #show(state: WatchState, detail: string): void {
    document.body.dataset['state'] = state;
    const waiting = this.#info?.state === 'waiting' && (state === 'stalled' || state === 'loading');
    const badge = byId('badge', HTMLElement);
    setText(badge, waiting ? 'Waiting for the publisher' : BADGE[state][0]);
    badge.dataset['tone'] = waiting ? 'warn' : BADGE[state][1];
    this.#controls?.showPlaying(state !== 'idle');
    show(byId('big-play', HTMLElement), state === 'idle');
    show(byId('spinner', HTMLElement), state === 'loading' || state === 'stalled');
    show(byId('offline', HTMLElement), state === 'offline');
    if (state === 'offline') this.#showOffline(detail);
    const failed = state === 'failed';
    if (failed) document.body.dataset['error'] = detail;
    else delete document.body.dataset['error'];
    setText(byId('failure-title', HTMLElement), failed ? 'This does not play.' : '');
    setText(byId('failure-hint', HTMLElement), failed ? detail : '');
    show(byId('failure', HTMLElement), failed);
    this.#readout();
  }

  #showOffline(detail: string): void {
    const title = byId('offline-title', HTMLElement);
    const text = byId('offline-text', HTMLElement);
    show(byId('offline-publish', HTMLElement), detail !== 'unreachable');
    if (detail === 'unreachable') {
      setText(title, 'The server does not answer');
      setText(text, 'Is this device online? This page tries again by itself.');
    } else if (detail === 'ended') {
      setText(title, 'The broadcast has ended');
      setText(text, `This page starts by itself when ${this.#stream} is on air again.`);
    } else {
      setText(title, `Nothing is on air at ${this.#stream}`);
      setText(text, 'This page starts by itself as soon as somebody publishes. That can be you:');
    }
  }

  #readout(): void {
    const video = this.#video;
    const playing = this.#player?.state === 'playing' || this.#player?.state === 'stalled';
    const behind = playing ? (this.#player.path?.latencySeconds() ?? null) : null;
    setText(byId('latency', HTMLElement), playing ? (behind === null ? 'Live' : latency(behind)) : '–');
    const rate = this.#player?.path?.stats().bitrateBps ?? null;
    const picture = size(video.videoWidth, video.videoHeight);
    setText(byId('quality-size', HTMLElement), playing ? (picture === '–' ? 'sound only' : picture) : '');
    setText(byId('quality-rate', HTMLElement), playing && rate !== null ? ` · ${bitrate(rate)}` : '');
    show(byId('sound-only', HTMLElement), playing && video.videoWidth === 0);
  }

  async #askForInfo(): Promise<void> {
    try {
      this.#info = await getStream(this.#stream);
    } catch {
      // The player has its own eyes; this only makes its words better.
      this.#info = null;
    }
    if (this.#player.state === 'stalled') this.#show('stalled', '');
  }

  /** For tests and debugging. */
  debug(): object {
    const player = this.#player;
    const video = this.#video;
    const latencySeconds = (): number | null => player.path?.latencySeconds() ?? null;
    return {
      get hls() {
        return player.path instanceof HlsjsPath ? player.path.hls : null;
      },
      latencySeconds,
      pictureDelayMs: () => pictureDelayMs(video),
      stats() {
        const quality = video.getVideoPlaybackQuality();
        const { buffered, currentTime } = video;
        return {
          state: player.state,
          path: player.path?.name ?? null,
          latencySeconds: latencySeconds(),
          currentTime,
          width: video.videoWidth,
          height: video.videoHeight,
          bitrateBps: player.path?.stats().bitrateBps ?? null,
          renditions: player.path?.stats().renditions ?? 0,
          bufferedSeconds: buffered.length > 0 ? buffered.end(buffered.length - 1) - currentTime : 0,
          totalFrames: quality.totalVideoFrames,
          droppedFrames: quality.droppedVideoFrames,
          stalls: player.stalls,
          muted: video.muted,
          paused: video.paused,
        };
      },
    };
  }
}

const stream = streamFromPath(window.location.pathname);
if (stream === null) {
  window.location.replace('/');
} else {
  Object.defineProperty(window, 'skywave', { value: new WatchPage(stream).debug() });
}
