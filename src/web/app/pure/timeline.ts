/**
 * Going back in a broadcast: where the handle of the timeline is, what a click or a key means, and what the player has to do for it.
 *
 * Places are told in seconds behind the live edge, which stays the same while somebody watches the past at the usual pace.
 */

import type { PathName } from './choose.ts';
import { clock } from './format.ts';

/** What of a broadcast can be played, in seconds of the playing path's own clock. */
export interface PlayableWindow {
  begin: number;
  /** The live edge, now. */
  edge: number;
  position: number;
  /** How far behind the edge this path plays what it calls live. */
  target: number;
}

/** A moment of the broadcast, told so that any path can find it later. */
export interface Moment {
  /** Behind the live edge at `atMs`. */
  behind: number;
  atMs: number;
  /** Programme date and time (EXT-X-PROGRAM-DATE-TIME); null when not known. */
  dateMs: number | null;
}

/** One step of a key or of the button. */
export const STEP_S = 10;
export const BUTTON_S = 30;
/** Who aims at no more than this behind the player's own delay means live. */
const LIVE_S = 2;
/** A window that is not longer than this is not worth a way back. */
const SHORTEST_S = 6;
/** Whoever is at the beginning is kept this far from it: two segments of 2 s, so that the next to leave is not the one that is played. */
const MARGIN_S = 4;
/** Nearer than this to the beginning is out of the window. */
const OUT_S = 1;
/** A seek by less is a player's own correction. */
const OWN_SEEK_S = 1;

export function behind({ edge, position }: PlayableWindow): number {
  return Math.max(0, edge - position);
}

/** How far behind the live edge a moment is by now. */
export function behindBy(moment: Moment, nowMs: number): number {
  return moment.behind + Math.max(0, nowMs - moment.atMs) / 1000;
}

export function isWorthIt(depth: number | null): depth is number {
  return depth !== null && depth > SHORTEST_S;
}

/** Where the handle stands: 0 is the beginning of the window, 1 is live. */
export function handleAt(behindSeconds: number, depth: number): number {
  return depth <= 0 ? 1 : clamp(1 - behindSeconds / depth, 0, 1);
}

/** What a pointer at this part of the track's width means, in seconds behind live. */
export function aimAt(fraction: number, depth: number): number {
  return clamp(1 - fraction, 0, 1) * Math.max(0, depth);
}

/** What a key means to the slider, in seconds behind live; null when it means nothing. */
export function aimByKey(key: string, from: number, depth: number): number | null {
  switch (key) {
    case 'ArrowLeft':
    case 'ArrowDown':
      return stepBack(from, STEP_S, depth);
    case 'ArrowRight':
    case 'ArrowUp':
      return Math.max(0, from - STEP_S);
    case 'PageDown':
      return stepBack(from, 6 * STEP_S, depth);
    case 'PageUp':
      return Math.max(0, from - 6 * STEP_S);
    case 'Home':
      return depth;
    case 'End':
      return 0;
    default:
      return null;
  }
}

/** So far back from there; not beyond the beginning, where that is known. */
export function stepBack(from: number, seconds: number, depth: number | null): number {
  return depth === null ? from + seconds : Math.max(Math.min(from, depth), Math.min(from + seconds, depth));
}

/** Does somebody who aims there want to be live? */
export function meansLive(aim: number, target: number): boolean {
  return aim <= target + LIVE_S;
}

/** What the player has to do. */
export type Move =
  /** The path that plays can go there. */
  | 'seek'
  /** Only HLS can go there, from its start. */
  | 'begin-there'
  /** To the newest that this path has. */
  | 'jump-to-live'
  /** A live path has to begin, by the usual order. */
  | 'begin-live'
  | 'nothing';

export interface Situation {
  /** Null while nothing is being played. */
  path: PathName | null;
  /** Of that path; null when it has none, or none yet. */
  window: PlayableWindow | null;
  /** Has the viewer gone back? */
  past: boolean;
  /** What played when it was live last; null when nothing has. */
  lastLive: PathName | null;
}

export function moveTo(aim: number, situation: Situation): Move {
  const { path, window, past, lastLive } = situation;
  if (!meansLive(aim, window?.target ?? 0)) return window === null ? 'begin-there' : 'seek';
  if (path === null || path === 'whep') return past || path === null ? 'begin-live' : 'nothing';
  // Another way played before the viewer went back, or none has: the best one is to be tried.
  if (past && path !== lastLive) return 'begin-live';
  if (window === null) return past ? 'begin-live' : 'nothing';
  return 'jump-to-live';
}

/** A place in the window, away from its beginning and not after what is live. */
export function placeFor(position: number, { begin, edge, target }: PlayableWindow): number {
  const latest = Math.max(begin, edge - target);
  const earliest = Math.min(begin + Math.min(MARGIN_S, (edge - begin) / 4), latest);
  return clamp(position, earliest, latest);
}

/**
 * Where a path has to play to show a moment.
 *
 * @param dated the position that the path finds for the moment's date; null when it has no dates
 */
export function placeOf(moment: Moment, dated: number | null, window: PlayableWindow, nowMs: number): number {
  return placeFor(dated ?? window.edge - behindBy(moment, nowMs), window);
}

/** Where to go on when what is played has left the window; null while it has not. */
export function placeAfterLoss(window: PlayableWindow): number | null {
  const { begin, edge, position } = window;
  const short = edge - begin <= SHORTEST_S;
  return short || position >= begin + OUT_S ? null : placeFor(position, window);
}

/** What a jump of the element means that did not come from the timeline: the browser's own controls, media keys. */
export function readSeek(from: number, window: PlayableWindow, past: boolean): 'past' | 'live' | null {
  const live = meansLive(behind(window), window.target);
  if (past) return live && window.position > from + OWN_SEEK_S ? 'live' : null;
  return !live && window.position < from - OWN_SEEK_S ? 'past' : null;
}

/** A segment of a playlist, on the path's clock. */
export interface Dated {
  start: number;
  duration: number;
  dateMs: number;
}

/** Position of a date. Between segments whose dates leave a gap, it is where the gap was cut out. Null without segments. */
export function positionOfDate(segments: readonly Dated[], dateMs: number): number | null {
  const first = segments[0];
  if (first === undefined) return null;
  let found = first;
  for (const segment of segments) {
    if (segment.dateMs > dateMs) break;
    found = segment;
  }
  const into = (dateMs - found.dateMs) / 1000;
  const last = found === segments[segments.length - 1];
  return found.start + (last || found === first ? into : Math.min(into, found.duration));
}

/** The number to show: one that trembles about a half would flicker between two. */
export function steady(shown: number | null, behindSeconds: number): number {
  const rounded = Math.round(behindSeconds);
  return shown !== null && Math.abs(behindSeconds - shown) < 0.8 ? shown : rounded;
}

/** `LIVE`, `-1:23`. */
export function whereWords(behindSeconds: number | null): string {
  return behindSeconds === null ? 'LIVE' : `-${clock(Math.round(behindSeconds))}`;
}

/** For those who hear it: `Live`, `1 minute 23 seconds behind live`. */
export function spoken(behindSeconds: number | null): string {
  if (behindSeconds === null) return 'Live';
  const total = Math.round(behindSeconds);
  const parts = [
    [Math.floor(total / 3600), 'hour'],
    [Math.floor(total / 60) % 60, 'minute'],
    [total % 60, 'second'],
  ] as const;
  const words = parts
    .filter(([count]) => count > 0)
    .map(([count, unit]) => `${count} ${unit}${count === 1 ? '' : 's'}`);
  return words.length === 0 ? 'Live' : `${words.join(' ')} behind live`;
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(Math.max(value, least), most);
}
