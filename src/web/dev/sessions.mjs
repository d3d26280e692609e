/** WHIP and WHEP of the stand-in server: the HTTP side. The media side is a page (`answerer.mjs`). */

const EVENTS = ['active', 'inactive', 'layers', 'viewercount'];

export class Sessions {
  /** What was asked, for assertions. */
  log = [];
  /** `mode`: `answer`, `blackhole` (no candidate works), `silent` (connects and sends nothing), `refuse` with a status. */
  behaviour = usual();
  /** Keys that are asked for; null asks for none. */
  keys = { whip: null, whep: null };
  /** Data of the `layers` event; null without layers. */
  layers = null;

  #jobs = [];
  #wake = null;
  #results = new Map();
  #nextId = 1;
  /** id -> { kind, stream, restarts, listeners } */
  #open = new Map();

  /** The next piece of work for the answerer; undefined when there is none for a while. */
  async nextJob() {
    if (this.#jobs.length === 0) {
      await new Promise((resolve) => {
        this.#wake = resolve;
        setTimeout(resolve, 5000).unref();
      });
    }
    return this.#jobs.shift();
  }

  handleResult(job, body) {
    this.#results.get(job)?.(body);
    this.#results.delete(job);
  }

  #do(what, details) {
    const job = String(this.#nextId++);
    const done = new Promise((resolve) => this.#results.set(job, resolve));
    this.#jobs.push({ job, what, ...details });
    this.#wake?.();
    return done;
  }

  #of(kind, stream) {
    return [...this.#open.values()].filter((session) => session.kind === kind && session.stream === stream);
  }

  #tell(stream) {
    for (const session of this.#of('whep', stream)) {
      for (const listener of session.listeners) this.#describe(session, listener);
    }
  }

  #describe({ stream, mode }, { response, names }) {
    const published = mode === 'silent' || this.#of('whip', stream).length > 0;
    const say = (name, data) => {
      if (names.includes(name)) response.write(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
    };
    say(published ? 'active' : 'inactive', {});
    if (this.layers !== null) say('layers', this.layers);
    say('viewercount', { viewercount: this.#of('whep', stream).length });
  }

  /** @param call `{ kind, stream, id, extra, method, headers, url, body, problem, response }` */
  async handle(call) {
    const { kind, stream, id, extra, method, response } = call;
    if (!this.#admits(call)) return;
    if (id === undefined && method === 'POST') return this.#create(call);
    if (id === undefined && method === 'OPTIONS') {
      return response.writeHead(200, { 'Accept-Post': 'application/sdp', Link: this.#servers() }).end();
    }
    const session = this.#open.get(id);
    if (session === undefined) return call.problem(404, 'No such session', 'It has ended, or never was.');
    if (extra.length > 0) return this.#extra(call, session);
    if (method === 'PATCH') return this.#patch(call, session);
    if (method === 'DELETE') {
      this.log.push({ what: 'delete', kind, stream, id });
      await this.end(id);
      return response.writeHead(200).end();
    }
    return call.problem(405, 'Method not allowed', '');
  }

  #admits({ kind, headers, url, problem }) {
    const key = this.keys[kind];
    const shown = headers.authorization ?? `Bearer ${url.searchParams.get('token')}`;
    if (key === null || shown === `Bearer ${key}`) return true;
    problem(401, 'A key is needed', 'This stream is not for everybody.', { 'WWW-Authenticate': 'Bearer' });
    return false;
  }

  #servers() {
    return '<stun:127.0.0.1:3478>; rel="ice-server"';
  }

  async #create({ kind, stream, body, problem, response }) {
    const sdp = await body();
    this.log.push({ what: 'offer', kind, stream, sdp });
    const { mode, status, title, detail, headers } = this.behaviour[kind];
    if (mode === 'refuse') return problem(status, title, detail, headers);
    if (kind === 'whep' && mode !== 'silent' && this.#of('whip', stream).length === 0) {
      return problem(404, 'Nothing is on air', `No stream ${stream}.`, { 'Retry-After': '1' });
    }
    const id = String(this.#nextId++);
    this.#open.set(id, { kind, stream, restarts: 0, listeners: new Set(), mode });
    const silent = mode === 'silent';
    const answer = await this.#do(kind === 'whip' ? 'publish' : 'watch', { id, stream, sdp, silent });
    if (answer.startsWith('error')) return problem(500, 'The answerer failed', answer);
    const links = [
      this.#servers(),
      `</whep/${stream}/${id}/sse>; rel="urn:ietf:params:whep:ext:core:server-sent-events"; events="${EVENTS}"`,
      `</whep/${stream}/${id}/layer>; rel="urn:ietf:params:whep:ext:core:layer"`,
    ];
    response.writeHead(201, {
      'Content-Type': 'application/sdp',
      Location: `/${kind}/${stream}/${id}`,
      ETag: `"${id}-0"`,
      Link: kind === 'whep' ? links : links[0],
    });
    response.end(mode === 'blackhole' ? nowhere(answer) : answer);
    this.#tell(stream);
  }

  async #patch({ kind, stream, id, headers, body, problem, response }, session) {
    const fragment = await body();
    const restarting = headers['if-match'] === '*';
    this.log.push({ what: 'patch', kind, stream, id, fragment, restarting });
    if (headers['content-type'] !== 'application/trickle-ice-sdpfrag') return problem(415, 'Wrong type', '');
    if (headers['if-match'] === undefined) return problem(428, 'Precondition required', '');
    if (!restarting && headers['if-match'] !== `"${id}-${session.restarts}"`)
      return problem(412, 'Precondition failed', '');
    if (session.mode === 'blackhole') return response.writeHead(204).end();
    const result = await this.#do(restarting ? 'restart' : 'trickle', { id, fragment });
    if (!restarting) return response.writeHead(204).end();
    session.restarts++;
    response.writeHead(200, {
      'Content-Type': 'application/trickle-ice-sdpfrag',
      ETag: `"${id}-${session.restarts}"`,
    });
    response.end(result);
  }

  async #extra({ stream, id, extra, method, body, problem, response }, session) {
    if (extra[0] === 'layer') {
      this.log.push({ what: 'layer', id, method, body: await body() });
      return response.writeHead(200).end();
    }
    if (extra[0] !== 'sse') return problem(404, 'Not found', '');
    if (method === 'POST') {
      session.names = JSON.parse(await body());
      return response.writeHead(201, { Location: `/whep/${stream}/${id}/sse/1` }).end();
    }
    response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
    const listener = { response, names: session.names };
    session.listeners.add(listener);
    response.on('close', () => session.listeners.delete(listener));
    this.#describe(session, listener);
  }

  async end(id) {
    const session = this.#open.get(id);
    this.#open.delete(id);
    for (const { response } of session?.listeners ?? []) response.end();
    await this.#do('end', { id });
    if (session !== undefined) this.#tell(session.stream);
  }

  /** As in the beginning, but for the log. */
  async reset() {
    this.behaviour = usual();
    this.keys = { whip: null, whep: null };
    this.layers = null;
    for (const id of [...this.#open.keys()]) await this.end(id);
  }

  /** The broadcast is over: everybody's session ends. */
  async endStream(stream) {
    for (const [id, session] of [...this.#open]) if (session.stream === stream) await this.end(id);
  }
}

const usual = () => ({ whip: { mode: 'answer' }, whep: { mode: 'answer' } });

/** Candidates that lead to a documentation address (RFC 5737). */
function nowhere(answer) {
  return answer
    .replace(/^(a=candidate:\S+ \d+ udp \d+) \S+ \d+/gim, '$1 192.0.2.1 9')
    .replace(/^a=end-of.*\r\n/gim, '');
}
