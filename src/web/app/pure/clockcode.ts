/**
 * A clock that machines can read in the picture.
 *
 * The test picture carries its wall clock in a strip of black and white cells over the full width of its bottom edge;
 * the watch page reads it back and so knows the delay from glass to glass, whatever happened to the picture on the
 * way (another codec, another size). Cells are wide (13 pixels at 640) so that they survive any bitrate.
 *
 * Layout, left to right: sync `1 0 1 0`, 36 bits of milliseconds since the epoch modulo 2^36 (two years, most significant
 * bit first), 8 bits of checksum.
 */

const SYNC = [1, 0, 1, 0] as const;
const TIME_BITS = 36;
const CHECK_BITS = 8;
const MODULUS = 2 ** TIME_BITS;

export const CELLS = SYNC.length + TIME_BITS + CHECK_BITS;

/** Height of the strip as a part of the picture's height. */
export const STRIP_HEIGHT = 1 / 15;

/** Sum of the five bytes of the time, each weighted so that swapped bytes and an all-black strip do not pass. */
function checksum(ms: number): number {
  let rest = ms;
  let sum = 0x5a;
  for (let weight = 1; weight <= 5; weight++) {
    sum += (rest % 256) * (2 * weight - 1);
    rest = Math.floor(rest / 256);
  }
  return sum % 256;
}

function bitsOf(value: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => Math.floor(value / 2 ** (count - 1 - i)) % 2);
}

/** The cells for a time, 1 = white. */
export function encodeClock(epochMs: number): number[] {
  const ms = Math.floor(epochMs) % MODULUS;
  return [...SYNC, ...bitsOf(ms, TIME_BITS), ...bitsOf(checksum(ms), CHECK_BITS)];
}

/**
 * The time that was encoded, given the brightness of each cell's centre and a time not more than a year later.
 * Null when there is no strip or it cannot be read.
 */
export function decodeClock(brightness: readonly number[], nowMs: number): number | null {
  if (brightness.length !== CELLS) return null;
  const at = (i: number): number => brightness[i] ?? 0;
  const white = (at(0) + at(2)) / 2;
  const black = (at(1) + at(3)) / 2;
  if (white - black < 40) return null;
  const threshold = (white + black) / 2;
  const number = (from: number, count: number): number => {
    let value = 0;
    for (let i = from; i < from + count; i++) value = value * 2 + (at(i) > threshold ? 1 : 0);
    return value;
  };
  const ms = number(SYNC.length, TIME_BITS);
  if (number(SYNC.length + TIME_BITS, CHECK_BITS) !== checksum(ms)) return null;
  const base = Math.floor(nowMs / MODULUS) * MODULUS;
  const candidate = base + ms;
  // The picture is older than now; a strip from just before the modulus wrapped belongs to the round before.
  return candidate - nowMs > MODULUS / 2 ? candidate - MODULUS : candidate;
}
