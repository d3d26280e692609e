/** Reads the test picture's clock from what is on the screen: the delay from glass to glass. */

import { CELLS, decodeClock, STRIP_HEIGHT } from '../pure/clockcode.ts';

/** Pixels per cell in the copy that is looked at. */
const SCALE = 8;

/**
 * Milliseconds between the drawing of the frame that is shown and now; null when the picture has no readable clock.
 * The clocks of publisher and viewer must agree, so this means something on one machine, or with NTP.
 */
export function pictureDelayMs(video: HTMLVideoElement): number | null {
  const { videoWidth, videoHeight } = video;
  if (videoWidth === 0 || videoHeight === 0) return null;
  const canvas = new OffscreenCanvas(CELLS * SCALE, SCALE);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  if (context === null) return null;
  const top = videoHeight * (1 - STRIP_HEIGHT);
  context.drawImage(video, 0, top, videoWidth, videoHeight * STRIP_HEIGHT, 0, 0, canvas.width, SCALE);
  const nowMs = Date.now();
  const { data } = context.getImageData(0, 0, canvas.width, SCALE);
  const brightness = Array.from({ length: CELLS }, (_, cell) => {
    // The middle of the cell, away from what its neighbours smear into it.
    let sum = 0;
    for (let y = SCALE / 4; y < (SCALE * 3) / 4; y++) {
      for (let x = SCALE / 4; x < (SCALE * 3) / 4; x++) {
        const at = 4 * (y * canvas.width + cell * SCALE + x);
        sum += (data[at] ?? 0) + (data[at + 1] ?? 0) + (data[at + 2] ?? 0);
      }
    }
    return sum / (3 * (SCALE / 2) ** 2);
  });
  const drawnMs = decodeClock(brightness, nowMs);
  return drawnMs === null ? null : nowMs - drawnMs;
}
