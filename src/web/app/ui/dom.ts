/** The little of a framework that these pages need. */

/** The element of the page with this id; the pages are ours, so that its absence is a mistake of ours. */
export function byId<T extends HTMLElement>(id: string, type: new () => T): T {
  const element = document.getElementById(id);
  if (!(element instanceof type)) throw new Error(`#${id} is not in the page`);
  return element;
}

type Child = Node | string;

/** Makes an element; text is always set as text, so that a stream's name can never be markup. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, string> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Changes text only when it differs: screen readers announce every change of a live region. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

export function show(element: HTMLElement, visible: boolean): void {
  element.hidden = !visible;
}

/** Calls `task` now and every `ms`, but only while the page can be seen; waits for one run before the next. */
export function whileVisible(ms: number, task: () => Promise<void>): void {
  let timer: number | undefined;
  let running = false;
  const run = async (): Promise<void> => {
    window.clearTimeout(timer);
    if (document.hidden || running) return;
    running = true;
    try {
      await task();
    } finally {
      running = false;
    }
    timer = window.setTimeout(() => void run(), ms);
  };
  document.addEventListener('visibilitychange', () => void run());
  void run();
}
