/** One stream's card. */

import {
  type BoardStream,
  ladderWords,
  lossWords,
  recordingWords,
  viewerWords,
  workerWords,
} from '../pure/board.ts';
import { codecName } from '../pure/codecs.ts';
import { ago, bitrate, size } from '../pure/format.ts';
import { paths } from '../pure/names.ts';
import { record } from '../ui/api.ts';
import { copyButton } from '../ui/copy.ts';
import { make, setText, show } from '../ui/dom.ts';

const FACTS = [
  'Watching',
  'Picture',
  'Sound',
  'Loss',
  'For viewers',
  'Ladder',
  'Worker',
  'Recording',
  'On air',
] as const;

/** A new thumbnail is asked for this often; the server's cache headers save what has not changed. */
const THUMBNAIL_MS = 5_000;

/** Kept while its stream is listed, so that focus and a pressed button survive an update. */
export class Card {
  readonly element = make('li', { class: 'stream card' });
  readonly #badge = make('span', { class: 'badge' });
  readonly #thumbnail: HTMLImageElement;
  readonly #record = make('button', { class: 'button', type: 'button' }, 'Record');
  #recording = false;
  readonly #facts = new Map<string, { label: HTMLElement; value: HTMLElement }>();

  constructor(name: string) {
    this.element.dataset['stream'] = name;
    const facts = make('dl', { class: 'facts' });
    for (const word of FACTS) {
      const fact = { label: make('dt', {}, word), value: make('dd') };
      facts.append(fact.label, fact.value);
      this.#facts.set(word, fact);
    }
    this.#record.addEventListener('click', () => void this.#switchRecording(name));
    const copyHls = make('button', { class: 'button', type: 'button' }, 'Copy HLS link');
    copyButton(copyHls, () => new URL(paths.hls(name), window.location.href).href);
    this.#thumbnail = make('img', {
      class: 'stream-thumb',
      alt: `What ${name} shows`,
      width: '320',
      height: '180',
    });
    // Whoever may see the list may not see every stream.
    this.#thumbnail.addEventListener('error', () => show(this.#thumbnail, false));
    this.#thumbnail.addEventListener('load', () => show(this.#thumbnail, true));
    show(this.#thumbnail, false);
    this.element.append(
      this.#thumbnail,
      make('div', { class: 'stream-head' }, make('h2', {}, name), this.#badge),
      facts,
      make(
        'div',
        { class: 'stream-actions' },
        make(
          'a',
          { class: 'button primary', href: paths.watch(name), 'aria-label': `Watch ${name}` },
          'Watch',
        ),
        copyHls,
        this.#record,
        make(
          'a',
          { class: 'button', href: paths.vod(name), 'aria-label': `Recordings of ${name}` },
          'Recordings',
        ),
      ),
    );
  }

  update(stream: BoardStream, nowMs: number): void {
    const [word, tone] = stateWords(stream.state);
    setText(this.#badge, word);
    this.#show(stream.thumbnail, nowMs);
    this.#badge.dataset['tone'] = tone;
    this.#fact('Watching', viewerWords(stream.viewers));
    // While nobody feeds the stream there is nothing to say of what comes in and goes out.
    const fed = stream.state === 'live';
    this.#fact('Picture', fed ? pictureWords(stream) : '');
    this.#fact('Sound', fed ? soundWords(stream) : '');
    this.#fact('Loss', fed ? lossWords(stream) : '');
    this.#fact('For viewers', fed ? outputWords(stream) : '');
    this.#fact('Ladder', fed ? ladderWords(stream.ladder) : '');
    this.#fact('Worker', fed ? workerWords(stream.worker) : '');
    this.#fact('Recording', recordingWords(stream.recording));
    show(this.#record, fed && stream.recording !== undefined);
    this.#recording = stream.recording?.state === 'on';
    setText(this.#record, this.#recording ? 'Stop recording' : 'Record');
    this.#fact('On air', ago((nowMs - Date.parse(stream.since)) / 1000));
  }

  #show(thumbnail: string | null | undefined, nowMs: number): void {
    if (!thumbnail) {
      show(this.#thumbnail, false);
      return;
    }
    const address = `${thumbnail}?at=${Math.floor(nowMs / THUMBNAIL_MS)}`;
    if (this.#thumbnail.getAttribute('src') !== address) this.#thumbnail.setAttribute('src', address);
  }

  /** The next event says what has come of it; until then the button cannot be pressed again. */
  async #switchRecording(name: string): Promise<void> {
    this.#record.disabled = true;
    try {
      await record(name, !this.#recording);
    } catch (error) {
      this.#fact('Recording', error instanceof Error ? error.message : String(error));
    } finally {
      this.#record.disabled = false;
    }
  }

  /** Sets a fact; one that nothing is known of is not shown. */
  #fact(name: (typeof FACTS)[number], text: string): void {
    const fact = this.#facts.get(name);
    if (fact === undefined) return;
    setText(fact.value, text);
    show(fact.label, text !== '');
    show(fact.value, text !== '');
  }
}

function stateWords(state: BoardStream['state']): [string, string] {
  if (state === 'live') return ['Live', 'live'];
  if (state === 'waiting') return ['Waiting', 'warn'];
  if (state === 'slate') return ['Slate', 'warn'];
  return ['Starting', 'warn'];
}

function pictureWords({ video }: BoardStream): string {
  if (video === null) return 'none';
  const rate = video.fps > 0 ? `${Math.round(video.fps)} fps` : '';
  return [codecName(video.codec), size(video.width, video.height), rate, bitrate(video.bitrate_bps)]
    .filter((part) => part !== '')
    .join(' · ');
}

function soundWords({ audio }: BoardStream): string {
  if (audio === null) return 'none';
  const channels =
    audio.channels === 1 ? 'mono' : audio.channels === 2 ? 'stereo' : `${audio.channels} channels`;
  return [codecName(audio.codec), channels, bitrate(audio.bitrate_bps)].join(' · ');
}

function outputWords({ output, video }: BoardStream): string {
  if (output === null || output.video === null || video === null) return 'sound only';
  const how = output.video === 'passthrough' ? 'passed through' : 're-encoded';
  return output.width && output.height ? `${size(output.width, output.height)}, ${how}` : how;
}
