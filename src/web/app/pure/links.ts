/** ICE servers from `Link` headers (RFC 9725 section 4.6, RFC 8288). */

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

/** All `rel="ice-server"` links of one header value (several headers arrive joined by commas). */
export function iceServersFromLink(header: string | null): IceServer[] {
  if (header === null) return [];
  const servers: IceServer[] = [];
  for (const link of split(header, ',')) {
    const [target, ...params] = split(link, ';');
    if (!target?.startsWith('<') || !target.endsWith('>')) continue;
    const urls = target.slice(1, -1);
    if (!/^(stun|stuns|turn|turns):/i.test(urls)) continue;
    const fields = new Map<string, string>();
    for (const param of params) {
      const equals = param.indexOf('=');
      if (equals < 0) continue;
      fields.set(param.slice(0, equals).trim().toLowerCase(), unquote(param.slice(equals + 1).trim()));
    }
    if (!fields.get('rel')?.toLowerCase().split(/\s+/).includes('ice-server')) continue;
    const server: IceServer = { urls };
    const username = fields.get('username');
    const credential = fields.get('credential');
    if (username !== undefined) server.username = username;
    if (credential !== undefined) server.credential = credential;
    servers.push(server);
  }
  return servers;
}
