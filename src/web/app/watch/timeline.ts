/** The timeline in the bar: how far back one can go, and where one is. It knows no player, only seconds behind live. */

import {
  aimAt,
  aimByKey,
  BUTTON_S,
  handleAt,
  isWorthIt,
  spoken,
  steady,
  stepBack,
  whereWords,
} from '../pure/timeline.ts';
import { byId, setText } from '../ui/dom.ts';

/** Keys and the button are often pressed several times: this long after the last one the player goes there. */
const SETTLE_MS = 300;
/** Width of the handle (`style.css`), which stays within the track. */
const HANDLE_PX = 16;

export interface Place {
  /** Whether there is anything to go back in. */
  usable: boolean;
  /** Seconds that are kept; null when not known. */
  depth: number | null;
  /** Seconds behind live; null is live. */
  behind: number | null;
}

export class Timeline {
  readonly #slider = byId('timeline', HTMLElement);
  readonly #back = byId('back', HTMLButtonElement);
  readonly #where = byId('where', HTMLElement);
  readonly #onAim: (aim: number) => void;
  #place: Place = { usable: false, depth: null, behind: null };
  /** Where the viewer is about to go. */
  #aim: number | null = null;
  #dragging = false;
  #settle: number | undefined;
  /** The seconds in the words. */
  #shown: number | null = null;

  /** @param onAim the viewer wants to be so many seconds behind live */
  constructor(onAim: (aim: number) => void) {
    this.#onAim = onAim;
    this.#back.addEventListener('click', () => {
      this.#aimSoon(stepBack(this.#from(), BUTTON_S, this.#place.depth));
    });
    this.#slider.addEventListener('keydown', (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !this.handleKey(event.key)) return;
      event.preventDefault();
    });
    this.#wirePointer();
    this.#draw();
  }

  #wirePointer(): void {
    const slider = this.#slider;
    slider.addEventListener('pointerdown', (event) => {
      if (event.button !== 0 || !this.#canAim()) return;
      this.#forget();
      this.#dragging = true;
      slider.setPointerCapture(event.pointerId);
      this.#follow(event);
    });
    slider.addEventListener('pointermove', (event) => {
      if (this.#dragging) this.#follow(event);
    });
    slider.addEventListener('pointerup', (event) => {
      if (!this.#dragging) return;
      this.#follow(event);
      this.#dragging = false;
      this.#go();
    });
    slider.addEventListener('pointercancel', () => this.#forget());
  }

  /** True when the key means something here. */
  handleKey(key: string): boolean {
    const { usable, depth } = this.#place;
    if (!usable || this.#dragging) return false;
    // Until the beginning is known, a step back may be tried, and the beginning itself may not.
    const aim = aimByKey(key, this.#from(), depth ?? Number.POSITIVE_INFINITY);
    if (aim === null || aim === Number.POSITIVE_INFINITY) return false;
    this.#aimSoon(aim);
    return true;
  }

  show(place: Place): void {
    this.#place = place;
    if (!place.usable) this.#forget();
    this.#draw();
  }

  /** Leaves what was aimed at and not gone to yet. */
  #forget(): void {
    window.clearTimeout(this.#settle);
    this.#dragging = false;
    this.#aim = null;
  }

  #canAim(): boolean {
    return this.#place.usable && isWorthIt(this.#place.depth);
  }

  #from(): number {
    return this.#aim ?? this.#place.behind ?? 0;
  }

  #follow({ clientX }: PointerEvent): void {
    const { left, width } = this.#slider.getBoundingClientRect();
    this.#aim = aimAt(
      (clientX - left - HANDLE_PX / 2) / Math.max(1, width - HANDLE_PX),
      this.#place.depth ?? 0,
    );
    this.#draw();
  }

  #aimSoon(aim: number): void {
    this.#aim = aim;
    window.clearTimeout(this.#settle);
    this.#settle = window.setTimeout(() => this.#go(), SETTLE_MS);
    this.#draw();
  }

  #go(): void {
    const aim = this.#aim;
    this.#forget();
    if (aim !== null) this.#onAim(aim);
  }

  #draw(): void {
    const { usable, depth, behind } = this.#place;
    const at = this.#aim ?? behind;
    const live = at === null || Math.round(at) === 0;
    this.#shown = live ? null : steady(this.#shown, at);
    const slider = this.#slider;
    slider.style.setProperty('--at', String(handleAt(live ? 0 : at, depth ?? 0)));
    slider.dataset['known'] = String(depth !== null);
    slider.dataset['where'] = live ? 'live' : 'past';
    const far = Math.max(Math.round(depth ?? 0), this.#shown ?? 0);
    const attributes = {
      'aria-disabled': String(!this.#canAim()),
      'aria-valuemin': String(far === 0 ? 0 : -far),
      'aria-valuenow': String(this.#shown === null ? 0 : -this.#shown),
      'aria-valuetext': spoken(this.#shown),
    };
    for (const [name, value] of Object.entries(attributes)) {
      if (slider.getAttribute(name) !== value) slider.setAttribute(name, value);
    }
    this.#back.disabled = !usable;
    setText(this.#where, usable ? whereWords(this.#shown) : '');
    this.#where.dataset['where'] = live ? 'live' : 'past';
  }
}
