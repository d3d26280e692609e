/** `application/trickle-ice-sdpfrag` (RFC 8840 section 9), as WHIP and WHEP exchange it in a PATCH (RFC 9725 section 4.3). */

export interface IceCredentials {
  ufrag: string;
  pwd: string;
}

export interface Fragment {
  credentials: IceCredentials | null;
  /** Values of `a=`: `candidate:1 1 udp ..`. */
  candidates: string[];
  /** No more candidates will come. */
  ended: boolean;
}

function linesOf(sdp: string): string[] {
  return sdp.split(/\r?\n/).filter((line) => line !== '');
}

/** The first value of an attribute, on any level: with BUNDLE, all sections share one transport. */
function attribute(lines: readonly string[], name: string): string | null {
  const prefix = `a=${name}:`;
  return lines.find((line) => line.startsWith(prefix))?.slice(prefix.length) ?? null;
}

function credentialsIn(lines: readonly string[]): IceCredentials | null {
  const ufrag = attribute(lines, 'ice-ufrag');
  const pwd = attribute(lines, 'ice-pwd');
  return ufrag === null || pwd === null ? null : { ufrag, pwd };
}

/** The candidates of a description, each once, as values of `a=`. */
export function candidatesIn(sdp: string): string[] {
  const found = linesOf(sdp).filter((line) => line.startsWith('a=candidate:'));
  return [...new Set(found.map((line) => line.slice('a='.length)))];
}

/** Does the other side only answer checks (RFC 8445 section 2.5)? It then has no use for our candidates. */
export function isIceLite(sdp: string): boolean {
  return linesOf(sdp).includes('a=ice-lite');
}

/**
 * What a PATCH tells about our side: the credentials of the local description, and candidates.
 *
 * RFC 9725 section 4.3.2: with BUNDLE only the offerer-tagged section gathers, so the fragment has that one alone.
 */
export function writeFragment(local: string, candidates: readonly string[], ended: boolean): string {
  const lines = linesOf(local);
  const credentials = credentialsIn(lines);
  const bundle = attribute(lines, 'group')?.match(/^BUNDLE (\S+)/);
  const tagged = bundle?.[1] ?? attribute(lines, 'mid');
  const at = lines.indexOf(`a=mid:${tagged}`);
  const before = lines.slice(0, at < 0 ? undefined : at);
  const media = before.filter((line) => line.startsWith('m=')).at(-1);
  const out: string[] = [];
  const group = lines.find((line) => line.startsWith('a=group:BUNDLE '));
  if (group !== undefined) out.push(group);
  if (credentials !== null) out.push(`a=ice-ufrag:${credentials.ufrag}`, `a=ice-pwd:${credentials.pwd}`);
  if (media !== undefined) out.push(media);
  if (tagged !== null) out.push(`a=mid:${tagged}`);
  out.push(...candidates.map((candidate) => `a=${candidate}`));
  if (ended) out.push('a=end-of-candidates');
  return `${out.join('\r\n')}\r\n`;
}

export function readFragment(text: string): Fragment {
  const lines = linesOf(text);
  return {
    credentials: credentialsIn(lines),
    candidates: candidatesIn(text),
    ended: lines.includes('a=end-of-candidates'),
  };
}

/**
 * The remote description after an ICE restart: what was negotiated stays (RFC 9725 section 4.3.3), and the credentials and
 * candidates are the new ones. A fragment without candidates leaves the known ones: the server has not moved.
 */
export function restarted(answer: string, fragment: Fragment): string {
  const { credentials, candidates } = fragment;
  if (credentials === null) throw new Error('the fragment has no ICE credentials');
  const replaced = candidates.length > 0;
  const out: string[] = [];
  /** Where the candidates belong: the end of the first section that is not refused. */
  let open = false;
  let placed = !replaced;
  const place = (): void => {
    if (!open || placed) return;
    out.push(...candidates.map((candidate) => `a=${candidate}`));
    if (fragment.ended) out.push('a=end-of-candidates');
    placed = true;
  };
  for (const line of linesOf(answer)) {
    if (line.startsWith('m=')) {
      place();
      open = !/^m=\S+ 0 /.test(line);
    }
    if (line.startsWith('a=ice-ufrag:')) out.push(`a=ice-ufrag:${credentials.ufrag}`);
    else if (line.startsWith('a=ice-pwd:')) out.push(`a=ice-pwd:${credentials.pwd}`);
    else if (!(replaced && (line.startsWith('a=candidate:') || line === 'a=end-of-candidates')))
      out.push(line);
  }
  place();
  return `${out.join('\r\n')}\r\n`;
}
