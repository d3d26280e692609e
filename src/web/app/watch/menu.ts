/** The settings of the player: by which way it plays, and which layer of the picture. */

import { PATH_LABEL, type PathName, readWish } from '../pure/choose.ts';
import { bitrate } from '../pure/format.ts';
import type { Layer } from '../pure/layers.ts';
import { byId, make, setText, show } from '../ui/dom.ts';
import { setIcon } from './controls.ts';

export interface MenuEvents {
  /** Null is automatic. */
  onWay(wish: PathName | null): void;
  /** Null is automatic. Rejects with words. */
  onLayer(layer: Layer | null): Promise<void>;
}

const AUTOMATIC = 'auto';

export class Menu {
  readonly #button = byId('settings', HTMLButtonElement);
  readonly #panel = byId('menu', HTMLElement);
  readonly #way = byId('way', HTMLSelectElement);
  readonly #layer = byId('layer', HTMLSelectElement);
  readonly #note = byId('menu-note', HTMLElement);
  #layers: readonly Layer[] = [];
  /** What the picker shows, to leave it alone while nothing changes: it may be open. */
  #shown = '';

  constructor(usable: readonly PathName[], wish: PathName | null, events: MenuEvents) {
    setIcon(this.#button, 'settings', 'Settings');
    this.#way.append(make('option', { value: AUTOMATIC }, 'Automatic'));
    for (const name of usable) this.#way.append(make('option', { value: name }, PATH_LABEL[name]));
    this.#way.value = wish !== null && usable.includes(wish) ? wish : AUTOMATIC;
    this.#way.addEventListener('change', () => events.onWay(readWish(this.#way.value)));
    this.#layer.addEventListener('change', () => void this.#choose(events));
    this.#button.addEventListener('click', () =>
      this.#open(this.#button.getAttribute('aria-expanded') !== 'true'),
    );
    document.addEventListener('keydown', (event) => {
      if (event.key !== 'Escape' || this.#button.getAttribute('aria-expanded') !== 'true') return;
      this.#open(false);
      this.#button.focus();
    });
    document.addEventListener('pointerdown', ({ target }) => {
      if (!(target instanceof Node) || this.#panel.contains(target) || this.#button.contains(target)) return;
      this.#open(false);
    });
  }

  #open(open: boolean): void {
    show(this.#panel, open);
    this.#button.setAttribute('aria-expanded', String(open));
    if (open) this.#way.focus();
    else setText(this.#note, '');
  }

  /** Offers these layers; none when there is no choice. */
  showLayers(layers: readonly Layer[]): void {
    const words = layers.map(layerWords);
    const shown = layers.map((layer, i) => `${layer.mediaId}/${layer.id}/${words[i]}`).join('\n');
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.#layers = layers;
    const chosen = this.#layer.value;
    this.#layer.replaceChildren(
      make('option', { value: AUTOMATIC }, 'Automatic'),
      ...layers.map((layer, i) => make('option', { value: layer.id }, words[i] ?? layer.id)),
    );
    this.#layer.value = layers.some((layer) => layer.id === chosen) ? chosen : AUTOMATIC;
    show(byId('layer-row', HTMLElement), layers.length > 0);
  }

  async #choose(events: MenuEvents): Promise<void> {
    const layer = this.#layers.find((each) => each.id === this.#layer.value) ?? null;
    try {
      await events.onLayer(layer);
      setText(this.#note, '');
    } catch (error) {
      this.#layer.value = AUTOMATIC;
      setText(this.#note, error instanceof Error ? error.message : String(error));
    }
  }
}

function layerWords({ id, height, bitrateBps }: Layer): string {
  const name = height === null ? id : `${height}p`;
  if (bitrateBps === 0) return `${name} (not sent now)`;
  return bitrateBps === null ? name : `${name} (${bitrate(bitrateBps)})`;
}
