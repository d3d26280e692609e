/** `/`: what is on air, and how to begin. */

import { codecName } from './pure/codecs.ts';
import { ago, bitrate, size } from './pure/format.ts';
import { nameComplaint, paths } from './pure/names.ts';
import { listStreams, type StreamInfo } from './ui/api.ts';
import { copyButton } from './ui/copy.ts';
import { byId, make, setText, show, whileVisible } from './ui/dom.ts';

const POLL_MS = 2_000;

const list = byId('streams', HTMLUListElement);
const summary = byId('summary', HTMLElement);
const trouble = byId('trouble', HTMLElement);
const empty = byId('empty', HTMLElement);
const nameField = byId('name', HTMLInputElement);
const nameHelp = byId('name-help', HTMLElement);
const usualHelp = nameHelp.textContent ?? '';

/** One stream's card; kept while the stream is listed, so that focus and a pressed button survive an update. */
class Card {
  readonly element = make('li', { class: 'stream card' });
  readonly #badge = make('span', { class: 'badge' });
  readonly #facts = new Map<string, HTMLElement>();

  constructor(name: string) {
    const facts = make('dl', { class: 'facts' });
    for (const label of ['Picture', 'Sound', 'For viewers', 'On air']) {
      const value = make('dd');
      facts.append(make('dt', {}, label), value);
      this.#facts.set(label, value);
    }
    const copyHls = make('button', { class: 'button', type: 'button' }, 'Copy HLS link');
    copyButton(copyHls, () => new URL(paths.hls(name), window.location.href).href);
    this.element.append(
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
      ),
    );
  }

  update(stream: StreamInfo, nowMs: number): void {
    const [word, tone] = stateWords(stream.state);
    setText(this.#badge, word);
    this.#badge.dataset['tone'] = tone;
    this.#fact('Picture', pictureWords(stream));
    this.#fact('Sound', soundWords(stream));
    this.#fact('For viewers', outputWords(stream));
    this.#fact('On air', ago((nowMs - Date.parse(stream.since)) / 1000));
  }

  #fact(label: string, text: string): void {
    const value = this.#facts.get(label);
    if (value !== undefined) setText(value, text);
  }
}

function stateWords(state: StreamInfo['state']): [string, string] {
  if (state === 'live') return ['Live', 'live'];
  if (state === 'waiting') return ['Waiting', 'warn'];
  return ['Starting', 'warn'];
}

function pictureWords({ video }: StreamInfo): string {
  if (video === null) return 'none';
  const rate = video.fps > 0 ? `${Math.round(video.fps)} fps` : '';
  return [codecName(video.codec), size(video.width, video.height), rate, bitrate(video.bitrate_bps)]
    .filter((part) => part !== '')
    .join(' · ');
}

function soundWords({ audio }: StreamInfo): string {
  if (audio === null) return 'none';
  const channels =
    audio.channels === 1 ? 'mono' : audio.channels === 2 ? 'stereo' : `${audio.channels} channels`;
  return [codecName(audio.codec), channels, bitrate(audio.bitrate_bps)].join(' · ');
}

function outputWords({ output, video }: StreamInfo): string {
  if (output === null || output.video === null || video === null) return 'sound only';
  const how = output.video === 'passthrough' ? 'passed through' : 're-encoded';
  return output.width && output.height ? `${size(output.width, output.height)}, ${how}` : how;
}

const cards = new Map<string, Card>();

function render(streams: StreamInfo[]): void {
  const names = new Set(streams.map((stream) => stream.name));
  for (const [name, card] of cards) {
    if (names.has(name)) continue;
    card.element.remove();
    cards.delete(name);
  }
  const sorted = [...streams].sort((a, b) => (a.name < b.name ? -1 : 1));
  let before: Element | null = null;
  for (const stream of sorted) {
    let card = cards.get(stream.name);
    if (card === undefined) {
      card = new Card(stream.name);
      cards.set(stream.name, card);
    }
    card.update(stream, Date.now());
    // Moved only when out of place: moving an element takes the focus from it.
    const place: Element | null = before === null ? list.firstElementChild : before.nextElementSibling;
    if (place !== card.element) list.insertBefore(card.element, place);
    before = card.element;
  }
  show(empty, streams.length === 0);
  const live = streams.filter((stream) => stream.state === 'live').length;
  setText(summary, live === 0 ? 'No stream' : live === 1 ? '1 stream' : `${live} streams`);
}

async function poll(): Promise<void> {
  try {
    render(await listStreams());
    show(trouble, false);
  } catch (error) {
    // The last list stays: it is more likely right than an empty one.
    const reason =
      error instanceof Error && /answered/.test(error.message) ? error.message : 'It does not answer.';
    setText(trouble, `The list cannot be read from the server: ${reason} Trying again.`);
    show(trouble, true);
    if (cards.size === 0) setText(summary, '');
  }
}

function complain(complaint: string | null): void {
  setText(nameHelp, complaint ?? usualHelp);
  nameHelp.classList.toggle('bad', complaint !== null);
  nameField.setAttribute('aria-invalid', String(complaint !== null));
  const name = complaint === null ? nameField.value.trim() : 'demo';
  const whip = new URL(paths.whip(name), window.location.href).href;
  setText(byId('obs-url', HTMLElement), whip);
  setText(byId('cli-line', HTMLElement), `skywave publish test ${whip}`);
}

nameField.addEventListener('input', () => complain(nameComplaint(nameField.value.trim())));
byId('start', HTMLFormElement).addEventListener('submit', (event) => {
  event.preventDefault();
  const name = nameField.value.trim();
  const complaint = nameComplaint(name);
  complain(complaint);
  if (complaint === null) window.location.assign(paths.publish(name));
  else nameField.focus();
});
complain(nameComplaint(nameField.value.trim()));
whileVisible(POLL_MS, poll);
