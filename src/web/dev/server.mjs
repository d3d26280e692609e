/**
 * A stand-in for the Skywave server, for work on the pages: serves dist/ with the real security headers, a made-up
 * API, HLS made by ffmpeg, and WHIP and WHEP answered by a page of its own (`/dev/answerer`, to be kept open in a tab).
 *
 *     node dev/server.mjs [port]
 *
 * Controls, for `drive.mjs` and for curl: POST /dev/streams (JSON list), /dev/events/on|off, /dev/hls/{stream}/start|stop,
 * /dev/whip and /dev/whep ({"mode": "answer" | "blackhole" | "silent" | "refuse", "status": 503, ..}), /dev/keys ({"whip": null, "whep":
 * "secret"}; the latter for HLS as well), /dev/layers (data of the `layers` event), /dev/end/{stream}, /dev/reset; GET /dev/log.
 */
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { ANSWERER } from './answerer.mjs';
import { Sessions } from './sessions.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const dist = path.join(here, '..', 'dist');
const CSP =
  "default-src 'self'; media-src 'self' blob:; worker-src 'self' blob:; connect-src 'self'; img-src 'self' data:; style-src 'self'";
const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
  '.m3u8': 'application/vnd.apple.mpegurl',
  '.m4s': 'video/mp4',
  '.mp4': 'video/mp4',
};

const sessions = new Sessions();
let streams = [];
/** Open answers of /api/v1/events; null while the server is to have no events, so that pages poll. */
let listeners = new Set();
let eventId = 0;
const hls = new Map();

function problem(response, status, title, detail, headers = {}) {
  response.writeHead(status, { 'Content-Type': 'application/problem+json', ...headers });
  response.end(JSON.stringify({ type: 'about:blank', title, status, detail }));
}

function json(response, value) {
  response.writeHead(200, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' });
  response.end(JSON.stringify(value));
}

function tellSnapshot(response) {
  response.write(`id: ${++eventId}\nevent: snapshot\ndata: ${JSON.stringify({ streams })}\n\n`);
}

function onEvents(response) {
  if (listeners === null) return problem(response, 404, 'Not found', 'This server has no events.');
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
  tellSnapshot(response);
  listeners.add(response);
  response.on('close', () => listeners?.delete(response));
}

/** Without events pages must poll. */
function setEvents(there) {
  for (const response of listeners ?? []) response.end();
  listeners = there ? new Set() : null;
}

async function body(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

async function file(response, name, headers = {}) {
  try {
    const content = await readFile(name);
    const type = TYPES[path.extname(name)] ?? 'application/octet-stream';
    response.writeHead(200, { 'Content-Type': type, ...headers });
    response.end(content);
  } catch {
    problem(response, 404, 'Not found', 'There is no such file.');
  }
}

const page = (response, name) =>
  file(response, path.join(dist, `${name}.html`), {
    'Content-Security-Policy': CSP,
    'Cache-Control': 'no-cache',
  });

async function startHls(stream, { ladder = true } = {}) {
  await stopHls(stream);
  const folder = await mkdtemp(path.join(tmpdir(), 'skywave-dev-hls-'));
  await mkdir(path.join(folder, 'v'), { recursive: true });
  const split = ladder ? ['-var_stream_map', 'a:0,agroup:sound,default:yes v:0,agroup:sound'] : [];
  const args = ['-loglevel', 'error', '-re', '-f', 'lavfi', '-i', 'testsrc2=size=640x360:rate=25']
    .concat(['-re', '-f', 'lavfi', '-i', 'sine=frequency=1000:sample_rate=48000:beep_factor=4'])
    .concat(['-map', '0:v', '-map', '1:a', '-c:v', 'libx264', '-preset', 'ultrafast', '-tune', 'zerolatency'])
    .concat(['-pix_fmt', 'yuv420p', '-g', '50', '-b:v', '600k', '-c:a', 'aac', '-ac', '2', '-b:a', '96k'])
    .concat(['-f', 'hls', '-hls_time', '2', '-hls_list_size', '8', '-hls_segment_type', 'fmp4'])
    .concat(['-hls_flags', 'delete_segments+program_date_time+independent_segments', ...split])
    .concat(['-master_pl_name', 'index.m3u8', '-hls_fmp4_init_filename', 'init-%v.mp4'])
    .concat([
      '-hls_segment_filename',
      path.join(folder, 'seg-%v-%d.m4s'),
      path.join(folder, 'media-%v.m3u8'),
    ]);
  hls.set(stream, { folder, child: spawn('ffmpeg', args, { stdio: ['ignore', 'inherit', 'inherit'] }) });
}

/** @param how `gone` takes the files away; `ended` leaves a playlist with EXT-X-ENDLIST, `frozen` one without. */
async function stopHls(stream, how = 'gone') {
  const running = hls.get(stream);
  if (running === undefined) return;
  const { child, folder } = running;
  if (child.exitCode === null && child.signalCode === null) {
    const closed = new Promise((resolve) => child.once('exit', resolve));
    child.kill(how === 'ended' ? 'SIGINT' : 'SIGKILL');
    await closed;
  }
  if (how !== 'gone') return;
  hls.delete(stream);
  await rm(folder, { recursive: true, force: true });
}

async function onDev(request, response, parts) {
  const [, what, ...rest] = parts;
  if (what === 'answerer') {
    response.writeHead(200, { 'Content-Type': 'text/html' });
    response.end(ANSWERER);
  } else if (what === 'jobs') {
    const job = await sessions.nextJob();
    if (job === undefined) response.writeHead(204).end();
    else json(response, job);
  } else if (what === 'results') {
    sessions.handleResult(rest[0], await body(request));
    response.writeHead(204).end();
  } else if (what === 'log') {
    json(response, sessions.log);
  } else if (what === 'streams') {
    streams = JSON.parse(await body(request));
    for (const listener of listeners ?? []) tellSnapshot(listener);
    response.writeHead(204).end();
  } else if (what === 'events') {
    setEvents(rest[0] === 'on');
    response.writeHead(204).end();
  } else if (what === 'whip' || what === 'whep') {
    sessions.behaviour[what] = JSON.parse(await body(request));
    response.writeHead(204).end();
  } else if (what === 'keys') {
    sessions.keys = JSON.parse(await body(request));
    response.writeHead(204).end();
  } else if (what === 'layers') {
    sessions.layers = JSON.parse(await body(request));
    response.writeHead(204).end();
  } else if (what === 'reset') {
    streams = [];
    await sessions.reset();
    for (const stream of [...hls.keys()]) await stopHls(stream);
    response.writeHead(204).end();
  } else if (what === 'end') {
    await sessions.endStream(rest[0]);
    response.writeHead(204).end();
  } else if (what === 'hls') {
    if (rest[1] === 'start') await startHls(rest[0]);
    else await stopHls(rest[0], rest[2]);
    response.writeHead(204).end();
  } else {
    problem(response, 404, 'Not found', '');
  }
}

async function handle(request, response) {
  const url = new URL(request.url, 'http://localhost');
  const parts = url.pathname.split('/').slice(1);
  const [first, second, third] = parts;
  if (first === 'dev') return onDev(request, response, parts);
  if (url.pathname === '/') return page(response, 'index');
  if (first === 'publish' || first === 'watch') return page(response, first);
  if (first === 'assets') {
    const name = path.join(dist, 'assets', path.basename(second));
    return file(response, name, { 'Cache-Control': 'public, max-age=31536000, immutable' });
  }
  if (first === 'hls') {
    const key = sessions.keys.whep;
    // The real server carries the key on into the playlists; here only the way in is guarded.
    if (key !== null && third === 'index.m3u8' && url.searchParams.get('token') !== key)
      return problem(response, 401, 'A key is needed', '');
    const folder = hls.get(second)?.folder;
    if (folder === undefined) {
      return problem(response, 404, 'Nothing is on air', `No stream ${second}.`, { 'Retry-After': '1' });
    }
    return file(response, path.join(folder, path.basename(third)), { 'Cache-Control': 'no-cache' });
  }
  if (first === 'whip' || first === 'whep') {
    return sessions.handle({
      kind: first,
      stream: second,
      id: third,
      extra: parts.slice(3),
      method: request.method,
      headers: request.headers,
      url,
      body: () => body(request),
      problem: (...words) => problem(response, ...words),
      response,
    });
  }
  if (url.pathname === '/api/v1/events') return onEvents(response);
  if (url.pathname === '/api/v1/streams') return json(response, { streams });
  if (url.pathname.startsWith('/api/v1/streams/')) {
    const found = streams.find((stream) => stream.name === parts[3]);
    return found ? json(response, found) : problem(response, 404, 'No such stream', '');
  }
  return problem(response, 404, 'Not found', '');
}

/** Listens on loopback; port 0 chooses one. */
export async function serve(port = 0) {
  const server = createServer((request, response) => {
    handle(request, response).catch((error) => {
      console.error(error);
      response.destroy();
    });
  });
  await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  const stop = async () => {
    for (const stream of [...hls.keys()]) await stopHls(stream);
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  return { origin: `http://127.0.0.1:${server.address().port}`, stop };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { origin, stop } = await serve(Number(process.argv[2] ?? 8081));
  console.log(`${origin}/ (keep ${origin}/dev/answerer open in a tab for WHIP and WHEP)`);
  process.on('SIGINT', () => void stop().then(() => process.exit(0)));
}
