/** When to try again. Randomness and the clock are inputs. */

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 10_000;

/**
 * Exponential back-off with jitter: attempt 0 waits about 0.5 s, and no attempt waits over 10 s.
 *
 * @param random in [0, 1): spreads publishers that were all cut off by the same restart over half of the delay.
 */
export function backoffMs(attempt: number, random: number): number {
  const full = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(attempt, 16));
  return Math.round(full / 2 + (full / 2) * random);
}

/** `Retry-After` (RFC 9110 section 10.2.3: seconds, or a date) in milliseconds; null when absent or nonsense. */
export function retryAfterMs(header: string | null, nowMs: number): number | null {
  if (header === null) return null;
  const text = header.trim();
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000;
  const at = Date.parse(text);
  return Number.isNaN(at) ? null : Math.max(0, at - nowMs);
}
