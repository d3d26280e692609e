/** Keeps the screen on while live: a phone that sleeps stops its camera. */

export class WakeLock {
  #wanted = false;
  #sentinel: WakeLockSentinel | null = null;

  constructor() {
    // The browser takes the lock back whenever the page is hidden.
    document.addEventListener('visibilitychange', () => void this.#acquire());
  }

  set(wanted: boolean): void {
    this.#wanted = wanted;
    if (wanted) {
      void this.#acquire();
    } else {
      void this.#sentinel?.release();
      this.#sentinel = null;
    }
  }

  async #acquire(): Promise<void> {
    if (!this.#wanted || document.hidden || !('wakeLock' in navigator)) return;
    if (this.#sentinel !== null && !this.#sentinel.released) return;
    try {
      const sentinel = await navigator.wakeLock.request('screen');
      if (this.#wanted) this.#sentinel = sentinel;
      else void sentinel.release();
    } catch {
      // Refused on a low battery: going live matters more than the lock.
    }
  }
}
