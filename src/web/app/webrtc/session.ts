/** The HTTP side of WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep), which is the same: a resource for one session. */

import { findLink, type IceServer, iceServers, type Link, readLinks } from '../pure/links.ts';
import { type Problem, readProblem } from '../pure/problem.ts';
import { retryAfterMs } from '../pure/retry.ts';
import { type Fragment, readFragment } from '../pure/sdpfrag.ts';

/** How long the server may take to answer an offer. */
const ANSWER_DEADLINE_MS = 10_000;

/** A restart is asked for when the network is in trouble: better ask again than wait. */
const PATCH_DEADLINE_MS = 5_000;

/** A session that is over anyway is not waited for longer than this. */
const DELETE_DEADLINE_MS = 3_000;

const FRAGMENT_TYPE = 'application/trickle-ice-sdpfrag';

/** The server answered, but not as asked. */
export class SessionRefused extends Error {
  readonly problem: Problem;
  readonly retryAfterMs: number | null;

  constructor(problem: Problem, retryAfter: number | null) {
    super(`${problem.status} ${problem.title}`);
    this.problem = problem;
    this.retryAfterMs = retryAfter;
  }
}

/** The server could not be reached, or did not answer in time. */
export class ServerUnreachable extends Error {}

/** The server agreed, with something that is not an answer. */
export class AnswerNonsense extends Error {}

/** `Authorization` of a request (RFC 6750 section 2.1). */
export function bearer(token: string | null): Record<string, string> {
  return token === null ? {} : { Authorization: `Bearer ${token}` };
}

/** A session on the server. */
export class SessionResource {
  readonly answer: string;
  readonly location: URL;
  readonly #endpoint: URL;
  readonly #token: string | null;
  readonly #links: Link[];
  /** Of the ICE session (RFC 9725 section 4.3.1); null when the server does not trickle. */
  #etag: string | null;

  private constructor(
    endpoint: URL,
    token: string | null,
    answer: string,
    location: URL,
    etag: string | null,
    links: Link[],
  ) {
    this.#endpoint = endpoint;
    this.#token = token;
    this.answer = answer;
    this.location = location;
    this.#etag = etag;
    this.#links = links;
  }

  /** Sends the offer (section 4.2). Throws one of the errors above. */
  static async create(
    endpoint: URL,
    offer: string,
    token: string | null,
    signal: AbortSignal,
  ): Promise<SessionResource> {
    const init = {
      method: 'POST',
      headers: { 'Content-Type': 'application/sdp', Accept: 'application/sdp', ...bearer(token) },
      body: offer,
    };
    const { response, body } = await exchange(endpoint, init, ANSWER_DEADLINE_MS, signal);
    if (response.status !== 201) throw refusal(response, body);
    const type = response.headers.get('Content-Type');
    const location = response.headers.get('Location');
    // Section 4.2: Location and an application/sdp body are what makes a 201 a session.
    if (location === null) throw new AnswerNonsense('The answer has no Location header.');
    if (type === null || !/^application\/sdp\b/i.test(type)) {
      throw new AnswerNonsense(`The answer is of type ${type ?? 'unknown'} and not application/sdp.`);
    }
    // Relative to the endpoint as it was after redirects (a cluster may answer 307).
    const base = new URL(response.url || endpoint);
    const links = readLinks(response.headers.get('Link'));
    const etag = response.headers.get('ETag');
    return new SessionResource(base, token, body, new URL(location, base), etag, links);
  }

  get iceServers(): IceServer[] {
    return iceServers(this.#links);
  }

  /** The address of an extension (section 4.9), and the link that names it. */
  extension(relation: string): { url: URL; link: Link } | null {
    const link = findLink(this.#links, relation);
    return link === null ? null : { url: new URL(link.target, this.#endpoint), link };
  }

  /** Asks for fresh ICE servers: credentials of TURN are short-lived (section 4.6). */
  async freshIceServers(signal: AbortSignal): Promise<IceServer[]> {
    const init = { method: 'OPTIONS', headers: bearer(this.#token) };
    const { response, body } = await exchange(this.#endpoint, init, PATCH_DEADLINE_MS, signal);
    if (!response.ok) throw refusal(response, body);
    return iceServers(readLinks(response.headers.get('Link')));
  }

  /** Tells candidates that were found after the offer (section 4.3.2). False when the server takes none. */
  async trickle(fragment: string, signal: AbortSignal): Promise<boolean> {
    if (this.#etag === null) return false;
    const { response } = await this.#patch(fragment, this.#etag, signal);
    return response.ok;
  }

  /** Restarts ICE (section 4.3.3): our new credentials for the server's. */
  async restart(fragment: string, signal: AbortSignal): Promise<Fragment> {
    const { response, body } = await this.#patch(fragment, '*', signal);
    if (response.status !== 200) throw refusal(response, body);
    const answer = readFragment(body);
    if (answer.credentials === null)
      throw new AnswerNonsense('The restart was answered without credentials.');
    this.#etag = response.headers.get('ETag') ?? this.#etag;
    return answer;
  }

  /**
   * Ends the session (section 4.2). True when the server has no such session any more; false when it cannot be told.
   *
   * @param leaving the page is going away: the request must outlive it.
   */
  async end(leaving: boolean): Promise<boolean> {
    try {
      const response = await fetch(this.location, {
        method: 'DELETE',
        headers: bearer(this.#token),
        keepalive: leaving,
        ...(leaving ? {} : { signal: AbortSignal.timeout(DELETE_DEADLINE_MS) }),
      });
      return response.ok || response.status === 404 || response.status === 410;
    } catch {
      return false;
    }
  }

  #patch(fragment: string, ifMatch: string, signal: AbortSignal): Promise<Exchanged> {
    const headers = { 'Content-Type': FRAGMENT_TYPE, 'If-Match': ifMatch, ...bearer(this.#token) };
    return exchange(this.location, { method: 'PATCH', headers, body: fragment }, PATCH_DEADLINE_MS, signal);
  }
}

export interface Exchanged {
  response: Response;
  body: string;
}

/** One request and its whole answer; throws `ServerUnreachable`, or the signal's reason when that was given up. */
export async function exchange(
  url: URL,
  init: RequestInit,
  deadlineMs: number,
  signal: AbortSignal,
): Promise<Exchanged> {
  try {
    const response = await fetch(url, { ...init, signal: anyOf(signal, AbortSignal.timeout(deadlineMs)) });
    return { response, body: await response.text() };
  } catch (error) {
    if (signal.aborted) throw error;
    throw new ServerUnreachable(String(error));
  }
}

export function refusal(response: Response, body: string): SessionRefused {
  const { headers, status } = response;
  const retryAfter = retryAfterMs(headers.get('Retry-After'), Date.now());
  return new SessionRefused(readProblem(status, headers.get('Content-Type'), body), retryAfter);
}

/** `AbortSignal.any`, which Safari has since 17.4 only. */
function anyOf(first: AbortSignal, second: AbortSignal): AbortSignal {
  const either = new AbortController();
  for (const signal of [first, second]) {
    if (signal.aborted) either.abort(signal.reason);
    else signal.addEventListener('abort', () => either.abort(signal.reason), { signal: either.signal });
  }
  return either.signal;
}
