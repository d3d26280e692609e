/** How much of a broadcast the server keeps, as its playlists tell it to somebody who does not play them. */

/** What a media playlist lists. */
export interface Listed {
  seconds: number;
  /** Programme date and time of its end; null without EXT-X-PROGRAM-DATE-TIME. */
  endDateMs: number | null;
}

/** The first variant's URI of a multivariant playlist; null when it is none. */
export function firstVariant(playlist: string): string | null {
  const lines = playlist.split(/\r?\n/);
  const at = lines.findIndex((line) => line.startsWith('#EXT-X-STREAM-INF'));
  if (at < 0) return null;
  return lines.slice(at + 1).find((line) => line !== '' && !line.startsWith('#')) ?? null;
}

export function readListed(playlist: string): Listed {
  let seconds = 0;
  /** Of parts whose segment is not complete yet. */
  let partSeconds = 0;
  let dateMs: number | null = null;
  let sinceDate = 0;
  for (const line of playlist.split(/\r?\n/)) {
    if (line.startsWith('#EXTINF:')) {
      const duration = Number.parseFloat(line.slice('#EXTINF:'.length)) || 0;
      seconds += duration;
      sinceDate += duration;
      partSeconds = 0;
    } else if (line.startsWith('#EXT-X-PART:')) {
      partSeconds += Number.parseFloat(/[:,]DURATION=([\d.]+)/.exec(line)?.[1] ?? '') || 0;
    } else if (line.startsWith('#EXT-X-PROGRAM-DATE-TIME:')) {
      const date = Date.parse(line.slice('#EXT-X-PROGRAM-DATE-TIME:'.length));
      if (Number.isFinite(date)) {
        dateMs = date;
        sinceDate = 0;
      }
    }
  }
  const end = sinceDate + partSeconds;
  return { seconds: seconds + partSeconds, endDateMs: dateMs === null ? null : dateMs + end * 1000 };
}

/** A look at the playlists. */
export interface Look extends Listed {
  atMs: number;
}

/** It has grown by about the time that has passed: nothing has left it yet. */
const GROWING = 0.5;

/** What is kept now, by the last two looks; null before the first. A window that grew goes on growing until the next look. */
export function keptNow(last: Look | null, before: Look | null, nowMs: number): number | null {
  if (last === null) return null;
  const apart = before === null ? 0 : (last.atMs - before.atMs) / 1000;
  const growing = before !== null && apart > 1 && last.seconds - before.seconds > GROWING * apart;
  return last.seconds + (growing ? (nowMs - last.atMs) / 1000 : 0);
}

/** Date of what is sent at this moment; null when the playlists have no dates. */
export function liveDateMs(last: Look | null, nowMs: number): number | null {
  return last === null || last.endDateMs === null ? null : last.endDateMs + (nowMs - last.atMs);
}
