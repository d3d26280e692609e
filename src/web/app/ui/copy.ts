/** Copy buttons: `<button data-copy="id-of-the-field">`. */

import { setText } from './dom.ts';

const SHOWN_MS = 2_000;

/** Puts text on the clipboard; false when the browser does not let us. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // No clipboard API outside of secure contexts (http on a LAN): the old way still works there.
    return copyBySelection(text);
  }
}

function copyBySelection(text: string): boolean {
  const field = document.createElement('textarea');
  field.value = text;
  field.className = 'visually-hidden';
  document.body.append(field);
  field.select();
  const copied = document.execCommand('copy');
  field.remove();
  return copied;
}

/** Makes a button copy what `text` gives, and say so. */
export function copyButton(button: HTMLButtonElement, text: () => string): void {
  const label = button.textContent ?? 'Copy';
  let timer: number | undefined;
  button.addEventListener('click', async () => {
    const copied = await copyText(text());
    setText(button, copied ? 'Copied' : 'Select and copy by hand');
    window.clearTimeout(timer);
    timer = window.setTimeout(() => setText(button, label), SHOWN_MS);
  });
}
