/** By which way a broadcast leaves: WebRTC first, WebM over a WebSocket where that cannot connect. */

import { bothWaysFailed, type Failure, noRecorder, noWebRtc } from './failures.ts';

export const VIAS = ['auto', 'webrtc', 'webm'] as const;

/** `auto` is what the page does by itself; the others insist (`?via=`). */
export type ViaWish = (typeof VIAS)[number];
export type Via = Exclude<ViaWish, 'auto'>;

/** What this browser is able to do, with what is to be sent. */
export interface Abilities {
  webrtc: boolean;
  webm: boolean;
}

/** The way of the first attempt; null when there is none. */
export function firstVia(wish: ViaWish, can: Abilities): Via | null {
  if (wish !== 'auto') return can[wish] ? wish : null;
  return can.webrtc ? 'webrtc' : can.webm ? 'webm' : null;
}

/** Why `firstVia` found nothing. */
export function noVia(wish: ViaWish): Failure {
  return wish === 'webm' ? noRecorder() : noWebRtc();
}

/** What of an attempt decides about the next one. */
export interface Ended {
  via: Via;
  wish: ViaWish;
  can: Abilities;
  /** Code of the failure that ended it; null without one. */
  code: string | null;
  /** Was the stream live by WebRTC at any time of this run? Then the network lets it through, and will again. */
  wasLiveByWebRtc: boolean;
}

/** Failures of the way itself. Whatever the server refuses, it would refuse by the other way too. */
const NO_WAY = new Set(['ice-failed', 'handshake-failed']);

/** The way of the next attempt. It never leads back from WebM: finding out again would take the stream off air again. */
export function nextVia({ via, wish, can, code, wasLiveByWebRtc }: Ended): Via {
  const leaves = via === 'webrtc' && wish === 'auto' && can.webm && !wasLiveByWebRtc;
  return leaves && code !== null && NO_WAY.has(code) ? 'webm' : via;
}

/**
 * What to tell when an attempt has failed.
 *
 * @param leftFor why WebRTC was left; null when it was not, or when the stream has been live since
 */
export function failureToShow(failure: Failure | null, leftFor: Failure | null): Failure | null {
  return failure === null || leftFor === null ? failure : bothWaysFailed(leftFor, failure);
}

/** Beside the numbers; empty for WebRTC, which is as usual. */
export function viaWords(via: Via): string {
  return via === 'webm' ? 'Sent as WebM over WebSocket.' : '';
}

/** Why it goes out as WebM; empty for WebRTC. */
export function viaReason(via: Via, wish: ViaWish, leftFor: Failure | null): string {
  if (via === 'webrtc') return '';
  if (leftFor !== null) return 'WebRTC could not connect, so this goes out as WebM over a WebSocket.';
  return wish === 'webm'
    ? 'This goes out as WebM over a WebSocket, as the address of the page asks.'
    : 'This browser has no WebRTC, so this goes out as WebM over a WebSocket.';
}
