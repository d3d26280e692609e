/** Answers of the server that are not what we asked for, in words. */

/** `application/problem+json` (RFC 9457), reduced to what a person needs. */
export interface Problem {
  status: number;
  title: string;
  detail: string;
}

/** What a status means when the server (or a proxy before it) did not say. */
const BY_STATUS: Record<number, string> = {
  400: 'The server did not understand the request',
  401: 'A key is needed',
  403: 'Not allowed',
  404: 'Not found',
  405: 'The server does not take this kind of request here',
  406: 'The server has nothing this browser can use',
  409: 'Somebody else is publishing under this name',
  413: 'The request was too big',
  415: 'The server does not take this type of content',
  422: 'The server cannot use what the browser offered',
  429: 'Too many requests; slow down',
  500: 'The server made a mistake',
  502: 'A proxy could not reach the server',
  503: 'The server is too busy',
  504: 'A proxy waited too long for the server',
};

/** Longest text taken over from an answer: a proxy's error page must not flood ours. */
const LONGEST_TEXT = 300;

export function readProblem(status: number, contentType: string | null, body: string): Problem {
  const fallback = BY_STATUS[status] ?? `The server answered ${status}`;
  if (contentType !== null && /^application\/(problem\+)?json\b/i.test(contentType)) {
    try {
      const value: unknown = JSON.parse(body);
      if (typeof value === 'object' && value !== null) {
        const { title, detail } = value as Record<string, unknown>;
        return { status, title: text(title) ?? fallback, detail: text(detail) ?? '' };
      }
    } catch {
      // Not JSON after all: the status still says what happened.
    }
  }
  const plain = contentType !== null && /^text\/plain\b/i.test(contentType) ? text(body) : null;
  return { status, title: fallback, detail: plain ?? '' };
}

function text(value: unknown): string | null {
  if (typeof value !== 'string') return null;
  const trimmed = value.trim();
  if (trimmed === '') return null;
  return trimmed.length > LONGEST_TEXT ? `${trimmed.slice(0, LONGEST_TEXT - 1)}…` : trimmed;
}

/** Would the same request have a chance a little later? */
export function isPassing(status: number): boolean {
  return status === 408 || status === 425 || status === 429 || status >= 500;
}
