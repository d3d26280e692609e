/** `/watch/{stream}`: the player. */

import {
  type PathName,
  type PlayerAbilities,
  pathOrder,
  pathOrderInPast,
  readWish,
  usablePaths,
} from './pure/choose.ts';
import { bitrate, latency, size } from './pure/format.ts';
import { paths, streamFromPath, tokenFromQuery, withToken } from './pure/names.ts';
import { onOff } from './pure/settings.ts';
import { ApiClosed, getStream, type StreamInfo } from './ui/api.ts';
import { copyButton } from './ui/copy.ts';
import { byId, setText, show, whileVisible } from './ui/dom.ts';
import { Controls } from './watch/controls.ts';
import { HlsjsPath, hlsjsIsSupported } from './watch/hlsjs.ts';
import { Kept } from './watch/kept.ts';
import { Menu } from './watch/menu.ts';
import { NativePath } from './watch/native.ts';
import type { PlaybackPath } from './watch/path.ts';
import { pictureDelayMs } from './watch/pictureclock.ts';
import { Player, type WatchState } from './watch/player.ts';
import { FrameRate, showReception } from './watch/readout.ts';
import { Timeline } from './watch/timeline.ts';
import { type StreamKnowledge, WhepPath } from './watch/whep.ts';

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
  readonly #token: string | null;
  /** With the key in it, for players that know only addresses. */
  readonly #hlsUrl: string;
  readonly #whepUrl: URL;
  readonly #video = byId('video', HTMLVideoElement);
  readonly #player: Player;
  readonly #controls: Controls;
  readonly #menu: Menu;
  readonly #kept: Kept;
  readonly #timeline: Timeline;
  /** Can this browser play the past at all? */
  readonly #hasPast: boolean;
  readonly #frameRate = new FrameRate();
  readonly #abilities: PlayerAbilities;
  #wish: PathName | null;
  #info: StreamInfo | null = null;
  #apiClosed = false;
  /** Of the present state. */
  #detail = '';

  constructor(stream: string) {
    this.#stream = stream;
    const query = new URLSearchParams(window.location.search);
    const asked = (name: string): boolean | undefined => onOff(query.get(name) ?? '');
    this.#token = tokenFromQuery(window.location.search);
    this.#hlsUrl = withToken(new URL(paths.hls(stream), window.location.href), this.#token).href;
    this.#whepUrl = new URL(paths.whep(stream), window.location.href);
    this.#abilities = {
      vendor: navigator.vendor,
      webrtc: typeof RTCPeerConnection !== 'undefined',
      mse: hlsjsIsSupported(),
      nativeHls: this.#video.canPlayType('application/vnd.apple.mpegurl') !== '',
    };
    this.#wish = readWish(query.get('player'));
    this.#hasPast = pathOrderInPast(this.#abilities, null).length > 0;
    this.#kept = new Kept(this.#hlsUrl);
    const makePaths = (past: boolean): PlaybackPath[] =>
      (past ? pathOrderInPast : pathOrder)(this.#abilities, this.#wish).map((name) => this.#makePath(name));
    this.#player = new Player(stream, this.#hlsUrl, this.#video, makePaths, {
      onState: (state, detail) => this.#show(state, detail),
      liveDateMs: () => this.#kept.liveDateMs(),
      onMutedByBrowser: () => this.#controls.offerSound(),
    });
    this.#controls = new Controls(this.#video, {
      onPlay: () => this.#player.resume(),
      onPause: () => {
        this.#video.pause();
        this.#player.stop();
      },
      onLive: () => this.#goTo(0),
      onArrow: (key) => this.#timeline.handleKey(key),
    });
    this.#timeline = new Timeline((aim) => void this.#goTo(aim));
    this.#menu = new Menu(usablePaths(this.#abilities), this.#wish, {
      onWay: (wish) => this.#insist(wish),
      onLayer: async (layer) => this.#player.path?.chooseLayer?.(layer),
    });
    this.#video.muted = asked('muted') ?? false;
    this.#fillPage();
    this.#wire();
    this.#show('idle', '');
    if (asked('autoplay') ?? true) this.#player.start();
  }

  #wire(): void {
    byId('big-play', HTMLButtonElement).addEventListener('click', () => this.#player.start());
    byId('again', HTMLButtonElement).addEventListener('click', () => this.#player.start());
    this.#video.addEventListener('pause', () => this.#controls.showPlaying(false));
    this.#video.addEventListener('play', () => this.#controls.showPlaying(true));
    byId('key-form', HTMLFormElement).addEventListener('submit', (event) => {
      event.preventDefault();
      this.#change('token', byId('token', HTMLInputElement).value.trim());
      window.location.reload();
    });
    // A session that nobody ends is only noticed by its silence; and a page may come back from the browser's cache.
    window.addEventListener('pagehide', () => {
      if (this.#player.state !== 'idle') this.#player.stop(true);
    });
    window.addEventListener('pageshow', ({ persisted }) => {
      if (persisted) this.#player.start();
    });
    const player = byId('player', HTMLElement);
    player.dataset['timeline'] = this.#hasPast ? 'shown' : 'none';
    for (const event of ['pointermove', 'pointerdown', 'focusin'] as const) {
      player.addEventListener(event, () => void this.#learnDepth());
    }
    window.setInterval(() => this.#readout(), READOUT_MS);
    whileVisible(INFO_MS, () => this.#askForInfo());
  }

  #makePath(name: PathName): PlaybackPath {
    if (name === 'hls.js') return new HlsjsPath(this.#hlsUrl);
    if (name === 'native-hls') return new NativePath(this.#hlsUrl);
    const knowledge: StreamKnowledge = {
      hasVideo: async () => {
        await this.#askForInfo();
        return this.#info === null ? null : this.#info.video !== null;
      },
      publisherIsAway: () => this.#info?.state === 'waiting',
    };
    return new WhepPath(this.#whepUrl, this.#token, knowledge);
  }

  /** Asks how far back one can go, unless the path that plays knows it. */
  async #learnDepth(): Promise<void> {
    const { path, state } = this.#player;
    if (!this.#hasPast || state !== 'playing' || (path?.window?.() ?? null) !== null) return;
    await this.#kept.look();
    this.#showPlace();
  }

  /** Goes so many seconds behind live. */
  async #goTo(aim: number): Promise<void> {
    if (aim > 0 && this.#kept.liveDateMs() === null) await this.#learnDepth();
    this.#player.goTo(aim);
    this.#readout();
  }

  #depth(): number | null {
    const window = this.#player.path?.window?.() ?? null;
    return window === null ? this.#kept.seconds() : window.edge - window.begin;
  }

  #showPlace(): void {
    const { state } = this.#player;
    const usable = this.#hasPast && (state === 'playing' || state === 'stalled' || state === 'loading');
    const behind = this.#player.behindSeconds();
    const past = behind !== null && state !== 'offline' && state !== 'failed';
    document.body.dataset['when'] = past ? 'past' : 'live';
    if (past) document.body.dataset['behind'] = String(Math.round(behind));
    else delete document.body.dataset['behind'];
    this.#timeline.show({ usable: usable || (past && state === 'idle'), depth: this.#depth(), behind });
  }

  /** From now on play in this way only, also after a reload. */
  #insist(wish: PathName | null): void {
    this.#wish = wish;
    this.#change('player', wish ?? '');
    if (wish === 'whep') this.#player.startLive();
    else this.#player.start();
  }

  /** Changes the page's own address. */
  #change(name: string, value: string): void {
    const address = new URL(window.location.href);
    if (value === '') address.searchParams.delete(name);
    else address.searchParams.set(name, value);
    window.history.replaceState(null, '', address);
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
    this.#detail = detail;
    this.#showBadge(state, detail);
    this.#controls?.showPlaying(state !== 'idle' && !(state === 'failed' && this.#player.refused));
    show(byId('big-play', HTMLElement), state === 'idle');
    show(byId('spinner', HTMLElement), state === 'loading' || state === 'stalled');
    show(byId('offline', HTMLElement), state === 'offline');
    if (state === 'offline') {
      this.#kept?.forget();
      this.#showOffline(detail);
    }
    const failed = state === 'failed';
    if (failed) document.body.dataset['error'] = detail;
    else delete document.body.dataset['error'];
    const wantsKey = failed && this.#player.refused;
    const title = wantsKey ? 'This stream wants a key.' : 'This does not play.';
    setText(byId('failure-title', HTMLElement), failed ? title : '');
    setText(byId('failure-hint', HTMLElement), failed ? detail : '');
    show(byId('failure', HTMLElement), failed);
    show(byId('key-form', HTMLElement), wantsKey);
    show(byId('again', HTMLElement), !wantsKey);
    this.#readout();
  }

  #showBadge(state: WatchState, detail: string): void {
    const badge = byId('badge', HTMLElement);
    const pausing = state === 'stalled' || state === 'loading';
    const away = pausing && (detail === 'waiting-for-publisher' || this.#info?.state === 'waiting');
    const reconnecting = pausing && detail === 'reconnecting';
    const past = state === 'playing' && this.#player.behindSeconds() !== null;
    const [words, tone] = past ? (['Not live', ''] as const) : BADGE[state];
    setText(badge, away ? 'Waiting for the publisher' : reconnecting ? 'Reconnecting' : words);
    badge.dataset['tone'] = away || reconnecting ? 'warn' : tone;
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
    const path = this.#player?.path ?? null;
    const playing = path !== null && (this.#player.state === 'playing' || this.#player.state === 'stalled');
    const behind = playing ? path.latencySeconds() : null;
    const past = this.#player !== undefined && this.#player.behindSeconds() !== null;
    const words = behind === null || past ? 'Live' : latency(behind);
    if (this.#timeline !== undefined) this.#showPlace();
    if (this.#player?.state === 'playing') this.#showBadge('playing', '');
    setText(byId('latency', HTMLElement), this.#player?.state === 'playing' ? words : '–');
    const stats = path?.stats() ?? null;
    const rate = stats?.bitrateBps ?? null;
    const picture = size(video.videoWidth, video.videoHeight);
    setText(byId('quality-size', HTMLElement), playing ? (picture === '–' ? 'sound only' : picture) : '');
    setText(byId('quality-rate', HTMLElement), playing && rate !== null ? ` · ${bitrate(rate)}` : '');
    show(byId('sound-only', HTMLElement), playing && video.videoWidth === 0);
    this.#menu?.showLayers(path?.layers?.() ?? []);
    show(byId('readout', HTMLElement), playing);
    if (!playing || stats === null) return;
    showReception({
      stats,
      latencySeconds: behind,
      video,
      fps: this.#frameRate.look(video, performance.now()),
      viewers: this.#info?.viewers ?? null,
      passedOver: this.#player.passedOver,
    });
  }

  async #askForInfo(): Promise<void> {
    if (this.#apiClosed) return;
    try {
      this.#info = await getStream(this.#stream);
    } catch (error) {
      // The player has its own eyes; this only makes its words better.
      this.#info = null;
      this.#apiClosed = error instanceof ApiClosed;
    }
    const { state } = this.#player;
    if (state === 'stalled' || state === 'loading') this.#showBadge(state, this.#detail);
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
      /** Where on the timeline: seconds; `behindSeconds` is null when live, `depthSeconds` when not known. */
      timeline: () => ({ behindSeconds: player.behindSeconds(), depthSeconds: this.#depth() }),
      /** As the timeline does; 0 is live. */
      goTo: (behindSeconds: number) => this.#goTo(behindSeconds),
      pictureDelayMs: () => pictureDelayMs(video),
      /** True when there was a connection to restart. */
      restartIce(): boolean {
        if (!(player.path instanceof WhepPath)) return false;
        player.path.restartIce();
        return true;
      },
      stats() {
        const quality = video.getVideoPlaybackQuality();
        const { buffered, currentTime } = video;
        const stats = player.path?.stats() ?? null;
        const receive = stats?.receive ?? null;
        return {
          state: player.state,
          path: player.path?.name ?? null,
          passedOver: player.passedOver,
          latencySeconds: latencySeconds(),
          currentTime,
          width: video.videoWidth,
          height: video.videoHeight,
          bitrateBps: stats?.bitrateBps ?? null,
          renditions: stats?.renditions ?? 0,
          viewers: stats?.viewers ?? null,
          bufferedSeconds: buffered.length > 0 ? buffered.end(buffered.length - 1) - currentTime : 0,
          totalFrames: quality.totalVideoFrames,
          droppedFrames: quality.droppedVideoFrames,
          stalls: player.stalls,
          muted: video.muted,
          paused: video.paused,
          packetsLost: receive?.packetsLost ?? null,
          fractionLost: receive?.fractionLost ?? null,
          jitterBufferMs: receive?.jitterBufferMs ?? null,
          rttMs: receive?.rttMs ?? null,
          codec: receive?.videoCodec ?? null,
          audioCodec: receive?.audioCodec ?? null,
          fps: receive?.fps ?? null,
          transport: receive?.transport ?? null,
          framesDecoded: receive?.framesDecoded ?? null,
          audioLevel: receive?.audioLevel ?? null,
          totalAudioEnergy: receive?.totalAudioEnergy ?? null,
          freezeCount: receive?.freezeCount ?? null,
          totalFreezesDuration: receive?.totalFreezesSeconds ?? null,
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
