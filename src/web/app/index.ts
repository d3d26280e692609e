/** `/`: what is on air, and how to begin. */

import { Card } from './index/card.ts';
import { Feed } from './index/feed.ts';
import type { Board } from './pure/board.ts';
import { nameComplaint, paths } from './pure/names.ts';
import { byId, setText, show } from './ui/dom.ts';

const list = byId('streams', HTMLUListElement);
const summary = byId('summary', HTMLElement);
const trouble = byId('trouble', HTMLElement);
const empty = byId('empty', HTMLElement);
const nameField = byId('name', HTMLInputElement);
const nameHelp = byId('name-help', HTMLElement);
const usualHelp = nameHelp.textContent ?? '';

const cards = new Map<string, Card>();

function render(board: Board): void {
  for (const [name, card] of cards) {
    if (board.has(name)) continue;
    card.element.remove();
    cards.delete(name);
  }
  const sorted = [...board.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
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
  show(empty, sorted.length === 0);
  const live = sorted.filter((stream) => stream.state === 'live').length;
  setText(summary, live === 0 ? 'No stream' : live === 1 ? '1 stream' : `${live} streams`);
}

/** The last list stays while there is trouble: it is more likely right than an empty one. */
function complainOfServer(reason: string | null): void {
  if (reason !== null) {
    setText(trouble, `The list cannot be read from the server: ${reason} Trying again.`);
    if (cards.size === 0) setText(summary, '');
  }
  show(trouble, reason !== null);
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
new Feed({ board: render, trouble: complainOfServer });
