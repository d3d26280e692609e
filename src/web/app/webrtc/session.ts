/** The WHIP client (RFC 9725): one HTTP exchange that sets a session up, and one that ends it. */

import { type IceServer, iceServersFromLink } from '../pure/links.ts';
import { type Problem, readProblem } from '../pure/problem.ts';
import { retryAfterMs } from '../pure/retry.ts';

/** How long the server may take to answer an offer. */
const ANSWER_DEADLINE_MS = 10_000;

/** A session that is over anyway is not waited for longer than this. */
const DELETE_DEADLINE_MS = 3_000;

/** The server answered, but not with 201. */
export class WhipRefused extends Error {
  readonly problem: Problem;
  readonly retryAfterMs: number | null;

  constructor(problem: Problem, retryAfter: number | null) {
    super(`${problem.status} ${problem.title}`);
    this.problem = problem;
    this.retryAfterMs = retryAfter;
  }
}

/** The server could not be reached, or did not answer in time. */
export class WhipUnreachable extends Error {}

/** The server answered 201 with something that is not an answer. */
export class WhipNonsense extends Error {}

/** A session on the server. */
export interface WhipResource {
  answer: string;
  location: URL;
  etag: string | null;
  iceServers: IceServer[];
}

/** Sends the offer (section 4.2). Throws one of the errors above. */
export async function postOffer(endpoint: URL, offer: string, signal: AbortSignal): Promise<WhipResource> {
  const deadline = AbortSignal.timeout(ANSWER_DEADLINE_MS);
  let response: Response;
  let body: string;
  try {
    response = await fetch(endpoint, {
      method: 'POST',
      headers: { 'Content-Type': 'application/sdp', Accept: 'application/sdp' },
      body: offer,
      signal: anyOf(signal, deadline),
    });
    body = await response.text();
  } catch (error) {
    if (signal.aborted) throw error;
    throw new WhipUnreachable(String(error));
  }
  const type = response.headers.get('Content-Type');
  if (response.status !== 201) {
    const retryAfter = retryAfterMs(response.headers.get('Retry-After'), Date.now());
    throw new WhipRefused(readProblem(response.status, type, body), retryAfter);
  }
  const location = response.headers.get('Location');
  // Section 4.2: Location and an application/sdp body are what makes a 201 a session.
  if (location === null) throw new WhipNonsense('The answer has no Location header.');
  if (type === null || !/^application\/sdp\b/i.test(type)) {
    throw new WhipNonsense(`The answer is of type ${type ?? 'unknown'} and not application/sdp.`);
  }
  return {
    answer: body,
    // Relative to the endpoint as it was after redirects (a cluster may answer 307).
    location: new URL(location, response.url || endpoint),
    etag: response.headers.get('ETag'),
    iceServers: iceServersFromLink(response.headers.get('Link')),
  };
}

/**
 * Ends a session (section 4.2). True when the server has no such session any more; false when it cannot be told.
 *
 * @param leaving the page is going away: the request must outlive it.
 */
export async function deleteSession(location: URL, leaving: boolean): Promise<boolean> {
  try {
    const response = await fetch(location, {
      method: 'DELETE',
      keepalive: leaving,
      ...(leaving ? {} : { signal: AbortSignal.timeout(DELETE_DEADLINE_MS) }),
    });
    return response.ok || response.status === 404 || response.status === 410;
  } catch {
    return false;
  }
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
