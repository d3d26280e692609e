/** A broadcast's way to the server, once: WHIP (`session.ts`) or WebM (`recording.ts`). It never reconnects; `Publisher` makes a new one. */

import type { Settings } from '../pure/settings.ts';
import type { SendReadout } from '../pure/stats.ts';

/** What is given to send. */
export interface Outgoing {
  video: MediaStreamTrack | null;
  audio: MediaStreamTrack | null;
  settings: Settings;
  stereo: boolean;
}

export class CodecMissing extends Error {}

export interface Sending {
  /** Called once when a connection that stood is gone, with the reason where the server gave one. */
  onLost: (why: Error | null) => void;
  /** Nothing arrives for the moment, or all is well again. */
  onTrouble: (troubled: boolean) => void;
  /** Kinds (`audio`, `video`) that the server does not take. */
  readonly refused: string[];
  /** The address on the server while there is a connection. */
  readonly location: string | null;
  /** Resolves when media flows; throws when it does not come to that, and it is over then. */
  open(signal: AbortSignal): Promise<void>;
  /** Another device. */
  replaceTrack(track: MediaStreamTrack): Promise<void>;
  /** Tries the network anew, where that goes without a new connection. */
  restartIce(): void;
  /** Numbers since the last call. */
  readout(): Promise<SendReadout>;
  /**
   * Ends it here and on the server. True when the server has surely forgotten it.
   *
   * @param leaving the page is going away: nothing can be waited for
   */
  close(leaving: boolean): Promise<boolean>;
}
