/** Waiting for a peer connection. */

import { candidateAddresses } from '../pure/sdp.ts';
import { candidatesIn } from '../pure/sdpfrag.ts';

/** No path for media; the addresses are those of the server that were tried. */
export class IceFailed extends Error {
  readonly addresses: string[];

  constructor(addresses: string[]) {
    super('no media connection');
    this.addresses = addresses;
  }
}

/** ICE stood, DTLS did not. */
export class HandshakeFailed extends Error {}

/** Waits until `settled` answers true (at once or after an event); rejects on abort. */
function until(
  pc: RTCPeerConnection,
  events: string[],
  deadlineMs: number,
  signal: AbortSignal,
  settled: (expired: boolean) => boolean,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = new AbortController();
    const look = (expired: boolean): void => {
      try {
        if (signal.aborted) throw signal.reason;
        if (!settled(expired)) return;
        resolve();
      } catch (error) {
        reject(error);
      }
      done.abort();
      window.clearTimeout(timer);
    };
    const timer = window.setTimeout(() => look(true), deadlineMs);
    for (const event of events) pc.addEventListener(event, () => look(false), { signal: done.signal });
    signal.addEventListener('abort', () => look(false), { signal: done.signal });
    look(false);
  });
}

/** Has the present ICE session gathered all it will? The state alone may still be that of the session before a restart. */
export function hasGathered(pc: RTCPeerConnection): boolean {
  return pc.iceGatheringState === 'complete' && candidatesIn(pc.localDescription?.sdp ?? '').length > 0;
}

/** Waits for all candidates, but not for long: a STUN or TURN server that does not answer holds nobody up. */
export function gathered(pc: RTCPeerConnection, deadlineMs: number, signal: AbortSignal): Promise<void> {
  const events = ['icegatheringstatechange', 'icecandidate'];
  return until(pc, events, deadlineMs, signal, (expired) => expired || hasGathered(pc));
}

/** Waits until media can flow. Throws `IceFailed` or `HandshakeFailed`. */
export function connected(pc: RTCPeerConnection, deadlineMs: number, signal: AbortSignal): Promise<void> {
  const events = ['connectionstatechange', 'iceconnectionstatechange'];
  return until(pc, events, deadlineMs, signal, (expired) => {
    if (pc.connectionState === 'connected') return true;
    const iceStands = pc.iceConnectionState === 'connected' || pc.iceConnectionState === 'completed';
    const failed = pc.connectionState === 'failed' || pc.connectionState === 'closed' || expired;
    if (!failed) return false;
    throw iceStands
      ? new HandshakeFailed()
      : new IceFailed(candidateAddresses(pc.remoteDescription?.sdp ?? ''));
  });
}
