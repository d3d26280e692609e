/**
 * A peer connection with its session on the server, from the offer to the end: it trickles, and it restarts ICE when the
 * network changes. It never begins a second session; whoever made it does.
 */

import type { IceServer } from '../pure/links.ts';
import { isOtherNetwork, type NetworkHint, Recovery, type RestartOutcome } from '../pure/recovery.ts';
import { refusesEverything } from '../pure/sdp.ts';
import { candidatesIn, isIceLite, restarted, writeFragment } from '../pure/sdpfrag.ts';
import type { Stat } from '../pure/stats.ts';
import { AnswerNonsense, ServerUnreachable, SessionResource } from './session.ts';
import { connected, gathered, hasGathered } from './waits.ts';

/** Candidates come in bursts; each burst is one request. */
const TRICKLE_MS = 100;
/** Addresses of our own are there in a few milliseconds; what a TURN server adds is trickled. */
const RESTART_GATHER_MS = 300;

export interface PeerOptions {
  endpoint: URL;
  token: string | null;
  /** From the answer to a connection. */
  connectDeadlineMs: number;
  /** Changes the offer that both sides get to see; a browser that refuses the change keeps its own. */
  describe?: (offer: string) => string;
  /** Changes the offer on its way to the server only. */
  announce?: (offer: string) => string;
  /** Changes the answer before the browser sees it. */
  understand?: (answer: string) => string;
}

/** `navigator.connection` (Network Information API); only Chromium has it. */
type WithConnection = Navigator & { connection?: NetworkHint & EventTarget };

export class Peer {
  readonly pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
  /** Called once when a connection that stood is gone. */
  onLost: () => void = () => {};
  /** The connection is being repaired, or stands again. */
  onTrouble: (troubled: boolean) => void = () => {};

  readonly #options: PeerOptions;
  readonly #over = new AbortController();
  readonly #recovery = new Recovery();
  #resource: SessionResource | null = null;
  /** The remote description without `understand`'s changes, as of the last ICE session. */
  #answer = '';
  /** Candidates that the server knows, or has no use for. */
  #told = new Set<string>();
  #trickles = false;
  #trickleTimer: number | undefined;
  #recoveryTimer: number | undefined;
  #troubled = false;

  constructor(options: PeerOptions) {
    this.#options = options;
  }

  /** Null before the server has answered, and after `close`. */
  get resource(): SessionResource | null {
    return this.#resource;
  }

  get troubled(): boolean {
    return this.#troubled;
  }

  /**
   * Resolves when media can flow. Throws an error of `session.ts` or `waits.ts`, or the signal's reason; the session is over
   * then.
   *
   * @param onAnswer once both descriptions are set, before the connection stands
   */
  async open(signal: AbortSignal, onAnswer: (answer: string) => void | Promise<void>): Promise<void> {
    try {
      await this.#open(signal, onAnswer);
    } catch (error) {
      // No wait: the reason for the failure is what the caller needs now.
      void this.close(false);
      throw error;
    }
  }

  async #open(signal: AbortSignal, onAnswer: (answer: string) => void | Promise<void>): Promise<void> {
    const { pc } = this;
    const { endpoint, token, announce, connectDeadlineMs } = this.#options;
    const offer = (await pc.createOffer()).sdp ?? '';
    const sdp = this.#describe(offer);
    // RFC 9725 section 4.6: the ICE servers come with the answer, so gathering begins after it. The server is ICE-lite and
    // needs no candidates of ours; other servers get them by PATCH.
    const resource = await SessionResource.create(endpoint, announce?.(sdp) ?? sdp, token, signal);
    this.#resource = resource;
    signal.throwIfAborted();
    this.#answer = resource.answer;
    if (refusesEverything(resource.answer)) {
      throw new AnswerNonsense('It takes neither the picture nor the sound.');
    }
    this.#adoptServers(resource.iceServers);
    this.#trickles = !isIceLite(resource.answer);
    pc.addEventListener('icecandidate', () => this.#scheduleTrickle());
    await this.#setOffer(offer);
    await this.#setAnswer();
    await onAnswer(resource.answer);
    await connected(pc, connectDeadlineMs, signal);
    this.#watch();
  }

  #describe(offer: string): string {
    return this.#options.describe?.(offer) ?? offer;
  }

  async #setOffer(offer: string): Promise<void> {
    try {
      await this.pc.setLocalDescription({ type: 'offer', sdp: this.#describe(offer) });
    } catch (error) {
      if (this.#options.describe === undefined) throw error;
      console.warn('The changed offer was not taken:', error);
      await this.pc.setLocalDescription({ type: 'offer', sdp: offer });
    }
  }

  async #setAnswer(): Promise<void> {
    const sdp = this.#options.understand?.(this.#answer) ?? this.#answer;
    try {
      await this.pc.setRemoteDescription({ type: 'answer', sdp });
    } catch (error) {
      throw new AnswerNonsense(error instanceof Error ? error.message : String(error));
    }
  }

  #adoptServers(iceServers: IceServer[]): void {
    if (iceServers.length === 0) return;
    try {
      this.pc.setConfiguration({ ...this.pc.getConfiguration(), iceServers });
    } catch (error) {
      // A mistake in the server's list of TURN servers: most viewers need none.
      console.warn('The ICE servers were not taken:', error);
    }
  }

  #scheduleTrickle(): void {
    if (!this.#trickles) return;
    window.clearTimeout(this.#trickleTimer);
    this.#trickleTimer = window.setTimeout(() => void this.#trickle(), TRICKLE_MS);
  }

  async #trickle(): Promise<void> {
    const { pc } = this;
    const local = pc.localDescription?.sdp ?? '';
    const fresh = candidatesIn(local).filter((candidate) => !this.#told.has(candidate));
    const ended = hasGathered(pc);
    // During a restart its own PATCH tells what there is.
    if (pc.signalingState !== 'stable' || (fresh.length === 0 && !ended)) return;
    for (const candidate of fresh) this.#told.add(candidate);
    try {
      const taken = await this.#resource?.trickle(writeFragment(local, fresh, ended), this.#over.signal);
      if (taken === false) this.#trickles = false;
    } catch {
      // The connection may stand without; if not, its own deadline says so.
    }
  }

  /** From now on, notice trouble and the end. */
  #watch(): void {
    const { pc } = this;
    const { signal } = this.#over;
    const listening = { signal };
    pc.addEventListener('iceconnectionstatechange', () => {
      this.#recovery.handleIceState(pc.iceConnectionState, performance.now());
      this.#drive();
    });
    pc.addEventListener('connectionstatechange', () => {
      const iceFailed = pc.iceConnectionState === 'failed';
      if (pc.connectionState === 'closed' || (pc.connectionState === 'failed' && !iceFailed)) this.#lose();
    });
    // A server that ends the session closes DTLS; the connection state alone would say so late or never.
    for (const { sender, receiver } of pc.getTransceivers()) {
      const transport = sender.transport ?? receiver.transport;
      transport?.addEventListener('statechange', () => {
        if (transport.state === 'closed' || transport.state === 'failed') this.#lose();
      });
    }
    const changed = (): void => {
      this.#recovery.handleNetworkChange(performance.now());
      this.#drive();
    };
    window.addEventListener('online', changed, listening);
    const { connection } = navigator as WithConnection;
    let before: NetworkHint = { ...(connection?.type === undefined ? {} : { type: connection.type }) };
    connection?.addEventListener(
      'change',
      () => {
        const after: NetworkHint = { ...(connection.type === undefined ? {} : { type: connection.type }) };
        const other = isOtherNetwork(before, after);
        if (after.type !== 'none') before = after;
        if (other) changed();
      },
      listening,
    );
    this.#recovery.handleIceState(pc.iceConnectionState, performance.now());
    this.#drive();
  }

  /** Does what the recovery decided. */
  #drive(): void {
    if (this.#over.signal.aborted) return;
    window.clearTimeout(this.#recoveryTimer);
    for (let action = this.#recovery.pollAction(); action !== null; action = this.#recovery.pollAction()) {
      if (action === 'give-up') {
        this.#lose();
        return;
      }
      void this.#restart();
    }
    const dueMs = this.#recovery.pollTimeout();
    if (dueMs !== null) {
      const waitMs = Math.max(0, dueMs - performance.now());
      this.#recoveryTimer = window.setTimeout(() => {
        this.#recovery.handleTimeout(performance.now());
        this.#drive();
      }, waitMs);
    }
    if (this.#troubled === this.#recovery.troubled) return;
    this.#troubled = this.#recovery.troubled;
    this.onTrouble(this.#troubled);
  }

  /** Restarts ICE now; for tests, and for whoever knows better that the network has changed. */
  restartIce(): void {
    this.#recovery.handleNetworkChange(performance.now());
    this.#drive();
  }

  async #restart(): Promise<void> {
    const outcome = await this.#tryRestart();
    this.#recovery.handleRestarted(outcome, performance.now());
    this.#drive();
  }

  async #tryRestart(): Promise<RestartOutcome> {
    const { pc } = this;
    const { signal } = this.#over;
    const resource = this.#resource;
    if (resource === null) return 'refused';
    try {
      const servers = pc.getConfiguration().iceServers ?? [];
      if (servers.some((server) => server.credential !== undefined)) {
        this.#adoptServers(await resource.freshIceServers(signal));
      }
      pc.restartIce();
      await this.#setOffer((await pc.createOffer()).sdp ?? '');
      await gathered(pc, RESTART_GATHER_MS, signal);
      const local = pc.localDescription?.sdp ?? '';
      const candidates = candidatesIn(local);
      this.#told = new Set(candidates);
      const ended = hasGathered(pc);
      const fragment = await resource.restart(writeFragment(local, candidates, ended), signal);
      this.#answer = restarted(this.#answer, fragment);
      await this.#setAnswer();
      if (!ended) this.#scheduleTrickle();
      return 'applied';
    } catch (error) {
      if (error instanceof ServerUnreachable) return 'unreachable';
      if (!signal.aborted) console.warn('ICE was not restarted:', error);
      return 'refused';
    }
  }

  #lose(): void {
    if (this.#over.signal.aborted) return;
    this.#stop();
    this.onLost();
  }

  #stop(): void {
    this.#over.abort();
    window.clearTimeout(this.#recoveryTimer);
    window.clearTimeout(this.#trickleTimer);
    this.pc.close();
  }

  /** One snapshot, as plain data. */
  async stats(): Promise<Stat[]> {
    const stats: Stat[] = [];
    (await this.pc.getStats()).forEach((stat: Stat) => {
      stats.push(stat);
    });
    return stats;
  }

  /** Ends the session here and on the server. True when the server has surely forgotten it. */
  async close(leaving: boolean): Promise<boolean> {
    this.#stop();
    const resource = this.#resource;
    this.#resource = null;
    return resource === null ? true : resource.end(leaving);
  }
}
