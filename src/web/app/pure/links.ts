/** `Link` headers (RFC 8288): ICE servers (RFC 9725 section 4.6) and the extensions of WHIP and WHEP (section 4.9). */

export interface Link {
  /** As it stands between the angle brackets: often relative to the answer's address. */
  target: string;
  /** Names in lower case; the first of several with the same name counts (RFC 8288 section 3.3 asks that of `rel`). */
  params: ReadonlyMap<string, string>;
}

export interface IceServer {
  urls: string;
  username?: string;
  credential?: string;
}

/** Splits at `separator` outside of quotes and angle brackets. */
function split(text: string, separator: string): string[] {
  const parts: string[] = [];
  let part = '';
  let quoted = false;
  let bracketed = false;
  for (let i = 0; i < text.length; i++) {
    const char = text.charAt(i);
    if (quoted && char === '\\') {
      part += char + text.charAt(++i);
      continue;
    }
    if (char === '"' && !bracketed) quoted = !quoted;
    else if (char === '<' && !quoted) bracketed = true;
    else if (char === '>' && !quoted) bracketed = false;
    if (char === separator && !quoted && !bracketed) {
      parts.push(part);
      part = '';
    } else {
      part += char;
    }
  }
  parts.push(part);
  return parts.map((each) => each.trim()).filter((each) => each !== '');
}

function unquote(value: string): string {
  if (value.length < 2 || !value.startsWith('"') || !value.endsWith('"')) return value;
  return value.slice(1, -1).replace(/\\(.)/g, '$1');
}

/** All links of one header value (several headers arrive joined by commas); what is no link is passed over. */
export function readLinks(header: string | null): Link[] {
  if (header === null) return [];
  const links: Link[] = [];
  for (const link of split(header, ',')) {
    const [target, ...pairs] = split(link, ';');
    if (!target?.startsWith('<') || !target.endsWith('>')) continue;
    const params = new Map<string, string>();
    for (const pair of pairs) {
      const equals = pair.indexOf('=');
      const name = (equals < 0 ? pair : pair.slice(0, equals)).trim().toLowerCase();
      if (!params.has(name)) params.set(name, equals < 0 ? '' : unquote(pair.slice(equals + 1).trim()));
    }
    links.push({ target: target.slice(1, -1), params });
  }
  return links;
}

/** `rel` is a list of names; extension names are URIs, which compare without case (RFC 8288 section 2.1.2). */
function hasRelation(link: Link, relation: string): boolean {
  const names = link.params.get('rel')?.toLowerCase().split(/\s+/) ?? [];
  return names.includes(relation.toLowerCase());
}

/** The first link of this relation. */
export function findLink(links: readonly Link[], relation: string): Link | null {
  return links.find((link) => hasRelation(link, relation)) ?? null;
}

/** The `rel="ice-server"` links, as `RTCConfiguration.iceServers` wants them. */
export function iceServers(links: readonly Link[]): IceServer[] {
  const servers: IceServer[] = [];
  for (const link of links) {
    if (!hasRelation(link, 'ice-server') || !/^(stun|stuns|turn|turns):/i.test(link.target)) continue;
    const server: IceServer = { urls: link.target };
    const username = link.params.get('username');
    const credential = link.params.get('credential');
    if (username !== undefined) server.username = username;
    if (credential !== undefined) server.credential = credential;
    servers.push(server);
  }
  return servers;
}
