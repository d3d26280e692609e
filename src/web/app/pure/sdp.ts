/**
 * The one thing about Opus that no browser API can say: stereo.
 *
 * RFC 7587 section 6.1: `stereo=1` in a description says that *its sender* prefers to receive stereo, and
 * `sprop-stereo=1` that it is likely to send stereo. A browser therefore encodes stereo when the *answer* says
 * `stereo=1`. So we announce `sprop-stereo=1` in the offer on the wire, and make sure that the answer asks for stereo:
 * any Opus decoder takes both, so that adding the wish for a server that left it out changes nothing for the server.
 */

interface FmtpValues {
  [key: string]: string;
}

/** Sets parameters in the `fmtp` line of every Opus payload type of an SDP; lines are kept in place and CRLF-ended. */
function setOpusFmtp(sdp: string, values: FmtpValues): string {
  const lines = sdp.split(/\r?\n/);
  const opus = new Set<string>();
  for (const line of lines) {
    const map = /^a=rtpmap:(\d+) opus\/48000/i.exec(line);
    if (map?.[1] !== undefined) opus.add(map[1]);
  }
  const out: string[] = [];
  const done = new Set<string>();
  for (const line of lines) {
    const payload = /^a=fmtp:(\d+) /.exec(line)?.[1];
    if (payload !== undefined && opus.has(payload)) {
      out.push(mergeFmtp(line, payload, values));
      done.add(payload);
    } else {
      out.push(line);
    }
  }
  // A peer may describe Opus without any fmtp line (all its parameters are optional).
  for (const payload of opus) {
    if (done.has(payload)) continue;
    const at = out.findIndex((line) => line.startsWith(`a=rtpmap:${payload} `));
    out.splice(at + 1, 0, mergeFmtp(`a=fmtp:${payload} `, payload, values));
  }
  return out.join('\r\n');
}

function mergeFmtp(line: string, payload: string, values: FmtpValues): string {
  const merged = new Map<string, string>();
  for (const pair of line.slice(`a=fmtp:${payload} `.length).split(';')) {
    const equals = pair.indexOf('=');
    const key = (equals < 0 ? pair : pair.slice(0, equals)).trim();
    if (key !== '') merged.set(key, equals < 0 ? '' : pair.slice(equals + 1).trim());
  }
  for (const [key, value] of Object.entries(values)) merged.set(key, value);
  const text = [...merged].map(([key, value]) => (value === '' ? key : `${key}=${value}`)).join(';');
  return `a=fmtp:${payload} ${text}`;
}

/** The offer as it goes over the wire when we are going to send two channels. */
export function announceStereo(offer: string): string {
  return setOpusFmtp(offer, { stereo: '1', 'sprop-stereo': '1' });
}

/**
 * The offer of a viewer, both over the wire and as its local description: Chromium and Safari decode two channels only when
 * their own description says that they want them.
 */
export function acceptStereo(offer: string): string {
  return setOpusFmtp(offer, { stereo: '1' });
}

/** The answer as the browser gets to see it: stereo at a bitrate that is worth two channels. */
export function askForStereo(answer: string, bitrateBps: number): string {
  return setOpusFmtp(answer, { stereo: '1', maxaveragebitrate: String(Math.round(bitrateBps)) });
}

/** Where the peer can be reached, as `address:port/protocol`, each once and in the order given (RFC 8839 section 5.1). */
export function candidateAddresses(sdp: string): string[] {
  const addresses = new Set<string>();
  for (const line of sdp.split(/\r?\n/)) {
    const candidate = /^a=candidate:\S+ \d+ (udp|tcp) \d+ (\S+) (\d+) typ /i.exec(line);
    if (candidate === null) continue;
    const [, protocol = '', address = '', port = ''] = candidate;
    addresses.add(`${address.includes(':') ? `[${address}]` : address}:${port}/${protocol.toLowerCase()}`);
  }
  return [...addresses];
}

/** Does the description refuse (port 0) every media section? Then nothing would ever flow. */
export function refusesEverything(answer: string): boolean {
  const sections = answer.split(/\r?\n/).filter((line) => line.startsWith('m='));
  return sections.length > 0 && sections.every((line) => /^m=\S+ 0 /.test(line));
}

/** The kinds (`audio`, `video`) whose section the answer refuses. */
export function refusedKinds(answer: string): string[] {
  const kinds: string[] = [];
  for (const line of answer.split(/\r?\n/)) {
    const section = /^m=(\S+) 0 /.exec(line);
    if (section?.[1] !== undefined) kinds.push(section[1]);
  }
  return kinds;
}
