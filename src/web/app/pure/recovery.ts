/**
 * When to restart ICE, and when a connection is lost. Time is an input.
 *
 * After every `handle..` the caller asks `pollAction` until it is null, and then `pollTimeout`.
 */

/** The words of `RTCIceConnectionState`. */
export type IceState = 'new' | 'checking' | 'connected' | 'completed' | 'disconnected' | 'failed' | 'closed';

/** What became of the PATCH that asks for a restart. */
export type RestartOutcome =
  /** The server took part; the new checks run. */
  | 'applied'
  /** No answer: our network is away, or the server is. */
  | 'unreachable'
  /** The server knows no such session, or does not restart ICE. */
  | 'refused';

export type RecoveryAction = 'restart' | 'give-up';

/** Browsers say `disconnected` when nothing has come for some seconds already; most such gaps close by themselves. */
const DISCONNECTED_MS = 1_000;
/** From a restart that the server took to a connection: checks take well under a second wherever they work. */
const PROVE_MS = 5_000;
const RETRY_MS = 1_000;
/** Trouble that lasts this long is the end of the session. */
const GIVE_UP_MS = 20_000;

type Phase =
  | { is: 'well' }
  /** A deadline at which the next restart begins. */
  | { is: 'troubled'; restartAtMs: number }
  | { is: 'restarting' }
  | { is: 'over' };

export class Recovery {
  #phase: Phase = { is: 'well' };
  #ice: IceState = 'connected';
  #troubleSinceMs: number | null = null;
  /** The network changed again while a restart was under way. */
  #again = false;
  #action: RecoveryAction | null = null;

  /** Is the connection being repaired? */
  get troubled(): boolean {
    return this.#phase.is === 'troubled' || this.#phase.is === 'restarting';
  }

  handleIceState(state: IceState, nowMs: number): void {
    this.#ice = state;
    const { is } = this.#phase;
    if (state === 'connected' || state === 'completed') {
      if (is === 'troubled') this.#recover();
    } else if (state === 'disconnected') {
      if (is === 'well') this.#trouble(nowMs, DISCONNECTED_MS);
    } else if (state === 'failed') {
      // Also when a restart has just been tried: these candidates will not do.
      if (is === 'well' || is === 'troubled') this.#trouble(nowMs, 0);
    }
  }

  /** The device has another network: what worked may look alive for seconds and be dead. */
  handleNetworkChange(nowMs: number): void {
    if (this.#phase.is === 'restarting') this.#again = true;
    else if (this.#phase.is !== 'over') this.#trouble(nowMs, 0);
  }

  handleRestarted(outcome: RestartOutcome, nowMs: number): void {
    if (this.#phase.is !== 'restarting') return;
    if (outcome === 'refused') {
      this.#giveUp();
    } else if (this.#again) {
      this.#trouble(nowMs, 0);
    } else if (outcome === 'unreachable') {
      this.#trouble(nowMs, RETRY_MS);
    } else if (this.#ice === 'connected' || this.#ice === 'completed') {
      this.#recover();
    } else {
      this.#trouble(nowMs, PROVE_MS);
    }
  }

  handleTimeout(nowMs: number): void {
    if (this.#phase.is !== 'troubled' || nowMs < this.#phase.restartAtMs) return;
    if (this.#troubleSinceMs !== null && nowMs - this.#troubleSinceMs >= GIVE_UP_MS) {
      this.#giveUp();
      return;
    }
    this.#phase = { is: 'restarting' };
    this.#again = false;
    this.#action = 'restart';
  }

  pollAction(): RecoveryAction | null {
    const action = this.#action;
    this.#action = null;
    return action;
  }

  pollTimeout(): number | null {
    return this.#phase.is === 'troubled' ? this.#phase.restartAtMs : null;
  }

  #trouble(nowMs: number, delayMs: number): void {
    this.#troubleSinceMs ??= nowMs;
    this.#phase = { is: 'troubled', restartAtMs: nowMs + delayMs };
    if (delayMs === 0) this.handleTimeout(nowMs);
  }

  #recover(): void {
    this.#phase = { is: 'well' };
    this.#troubleSinceMs = null;
  }

  #giveUp(): void {
    this.#phase = { is: 'over' };
    this.#action = 'give-up';
  }
}

/** What `navigator.connection` (Network Information API; not in Safari and Firefox) tells of the way out. */
export interface NetworkHint {
  type?: string;
}

/**
 * Is it another network? Its `change` event also comes when an estimate of the speed moves; `type` is only known on
 * phones and Chromebooks.
 */
export function isOtherNetwork(before: NetworkHint, after: NetworkHint): boolean {
  return after.type !== undefined && after.type !== 'none' && after.type !== before.type;
}
