/** Stream names, and the addresses built from them. */

/** The alphabet and length of a stream name (design.md section 1). */
const STREAM_NAME = /^[A-Za-z0-9._~-]{1,64}$/;

export function isStreamName(name: string): boolean {
  // "." and ".." are path segments with a meaning of their own: a URL parser would eat them.
  return STREAM_NAME.test(name) && name !== '.' && name !== '..';
}

/** Why a name cannot be used, in words for the person who typed it; null when it can. */
export function nameComplaint(name: string): string | null {
  if (name === '') return 'Give the stream a name, for example demo.';
  if (name.length > 64) return 'A stream name has at most 64 characters.';
  if (!isStreamName(name)) return 'Use only letters, digits and . _ ~ - (no spaces).';
  return null;
}

/** The stream name in `/publish/demo` or `/watch/demo`; null when there is none or it is not valid. */
export function streamFromPath(pathname: string): string | null {
  const [, page, raw, ...rest] = pathname.split('/');
  if ((page !== 'publish' && page !== 'watch') || raw === undefined) return null;
  if (rest.some((part) => part !== '')) return null;
  let name: string;
  try {
    name = decodeURIComponent(raw);
  } catch {
    return null;
  }
  return isStreamName(name) ? name : null;
}

export const paths = {
  publish: (stream: string): string => `/publish/${stream}`,
  watch: (stream: string): string => `/watch/${stream}`,
  whip: (stream: string): string => `/whip/${stream}`,
  webm: (stream: string): string => `/ingest/webm/${stream}`,
  whep: (stream: string): string => `/whep/${stream}`,
  hls: (stream: string): string => `/hls/${stream}/index.m3u8`,
  api: (stream: string): string => `/api/v1/streams/${stream}`,
  recording: (stream: string): string => `/api/v1/streams/${stream}/recording`,
  vod: (stream: string): string => `/vod/${stream}/`,
  apiStreams: '/api/v1/streams',
  apiEvents: '/api/v1/events',
} as const;

/** The key in a page's address (`?token=`); null without one. */
export function tokenFromQuery(query: string): string | null {
  return new URLSearchParams(query).get('token')?.trim() || null;
}

/** The address with the key in it, for what cannot send an `Authorization` header: HLS players, `EventSource`. */
export function withToken(url: URL, token: string | null): URL {
  const keyed = new URL(url);
  if (token !== null) keyed.searchParams.set('token', token);
  return keyed;
}
