/** Names, problems, retries, links, formats: what turns into words or delays. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deviceFailure, iceFailed } from '../app/pure/failures.ts';
import { ago, audience, bitrate, clock, latency, percent, size, transportLabel } from '../app/pure/format.ts';
import { isStreamName, nameComplaint, streamFromPath, tokenFromQuery, withToken } from '../app/pure/names.ts';
import { isPassing, readProblem } from '../app/pure/problem.ts';
import { backoffMs, retryAfterMs } from '../app/pure/retry.ts';

test('stream names are those of the contract', () => {
  for (const name of ['demo', 'a', 'A.b_c~d-9', 'x'.repeat(64)]) assert.equal(isStreamName(name), true, name);
  for (const name of ['', '.', '..', 'x'.repeat(65), 'a b', 'ä', 'a/b', '<b>']) {
    assert.equal(isStreamName(name), false, name);
    assert.notEqual(nameComplaint(name), null, name);
  }
});

test('the stream is read from the path, and from nothing else', () => {
  assert.equal(streamFromPath('/watch/demo'), 'demo');
  assert.equal(streamFromPath('/publish/a%7Eb/'), 'a~b');
  for (const path of ['/', '/watch', '/watch/', '/watch/a/b', '/vod/demo', '/watch/%', '/watch/a%2Fb']) {
    assert.equal(streamFromPath(path), null, path);
  }
});

test('a problem of the server is shown in its own words', () => {
  const body = JSON.stringify({
    type: 'about:blank',
    title: 'No codec in common',
    status: 422,
    detail: ' Say VP8. ',
  });
  assert.deepEqual(readProblem(422, 'application/problem+json; charset=utf-8', body), {
    status: 422,
    title: 'No codec in common',
    detail: 'Say VP8.',
  });
});

test('an answer that explains nothing is explained by its status', () => {
  const silent = [
    readProblem(503, null, ''),
    readProblem(503, 'text/html', '<h1>busy</h1>'),
    readProblem(503, 'application/problem+json', '{"title": 7'),
    readProblem(503, 'application/json', '[]'),
  ];
  for (const problem of silent) {
    assert.deepEqual(problem, { status: 503, title: 'The server is too busy', detail: '' });
  }
  assert.equal(readProblem(418, null, '').title, 'The server answered 418');
  assert.equal(readProblem(400, 'text/plain', 'x'.repeat(9000)).detail.length, 300);
});

test('what may pass is tried again, what will not is not', () => {
  assert.deepEqual([408, 429, 500, 503].map(isPassing), [true, true, true, true]);
  assert.deepEqual([400, 401, 403, 404, 409, 415, 422].map(isPassing), Array(7).fill(false));
});

test('back-off doubles up to ten seconds and never falls under half of that', () => {
  assert.deepEqual(
    [0, 1, 2, 3, 4, 5, 50].map((attempt) => backoffMs(attempt, 0)),
    [250, 500, 1000, 2000, 4000, 5000, 5000],
  );
  assert.equal(backoffMs(4, 0.999_999), 8000);
  assert.equal(backoffMs(1000, 0.999_999), 10_000);
});

test('Retry-After may be seconds or a date', () => {
  const now = Date.UTC(2026, 10, 22, 10, 0, 0);
  assert.equal(retryAfterMs(' 3 ', now), 3000);
  assert.equal(retryAfterMs('Sun, 22 Nov 2026 10:00:05 GMT', now), 5000);
  assert.equal(retryAfterMs('Sun, 22 Nov 2026 09:00:00 GMT', now), 0);
  assert.equal(retryAfterMs('soon', now), null);
  assert.equal(retryAfterMs(null, now), null);
});

test('each way a device fails has its own code and names the device', () => {
  const codes = [
    'NotAllowedError',
    'NotFoundError',
    'NotReadableError',
    'OverconstrainedError',
    'TypeError',
  ].map((name) => deviceFailure(name, ['camera', 'microphone']).code);
  assert.deepEqual(codes, [
    'device-refused',
    'device-missing',
    'device-in-use',
    'device-unable',
    'device-failed',
  ]);
  assert.match(deviceFailure('NotFoundError', ['camera', 'microphone']).title, /camera and microphone/);
  assert.equal(deviceFailure('NotAllowedError', ['screen']).code, 'screen-refused');
});

test('a failed media path names the port and what was tried', () => {
  assert.match(
    iceFailed('host', ['192.0.2.7:8190/udp']).hint,
    /UDP port 8190 .* of host .* named 192\.0\.2\.7:8190\/udp:/,
  );
  assert.match(iceFailed('host', []).hint, /named no address/);
});

test('the key comes from the page and goes into the addresses of players', () => {
  assert.deepEqual(['', '?token=', '?token=%20'].map(tokenFromQuery), [null, null, null]);
  assert.equal(tokenFromQuery('?a=1&token=x%2By'), 'x+y');
  const playlist = new URL('http://h/hls/a/index.m3u8');
  assert.equal(withToken(playlist, 'x+y').href, 'http://h/hls/a/index.m3u8?token=x%2By');
  assert.equal(withToken(playlist, null).href, playlist.href);
  assert.equal(withToken(new URL('http://h/?token=a'), 'b').href, 'http://h/?token=b');
});

test('numbers read well', () => {
  const plain = (text: string): string => text.replaceAll('\u00a0', ' ');
  assert.deepEqual([0, 64_000, 999_499, 999_500, 2_512_000].map(bitrate).map(plain), [
    '0 kbit/s',
    '64 kbit/s',
    '999 kbit/s',
    '1.0 Mbit/s',
    '2.5 Mbit/s',
  ]);
  assert.equal(bitrate(null), '–');
  assert.deepEqual([0, 59.9, 61, 3725].map(clock), ['0:00', '0:59', '1:01', '1:02:05']);
  assert.deepEqual([2, 30, 150, 8000, 200_000].map(ago), [
    'just now',
    '30 s',
    '2 min',
    '2 h 13 min',
    '2 d 7 h',
  ]);
  assert.deepEqual([null, 0.25, 3.04].map(latency), ['–', '250 ms', '3.0 s']);
  assert.deepEqual([0, 0.0034, 0.12, 1].map(percent).map(plain), ['0 %', '0.3 %', '12 %', '100 %']);
  assert.deepEqual([audience(0, 3), audience(2, 0), audience(2, 3)].map(plain), [
    '3',
    '2',
    '5 (2 WebRTC, 3 HLS)',
  ]);
  assert.deepEqual([null, 'udp', 'turn-tcp'].map(transportLabel), [
    'WebRTC',
    'WebRTC (UDP)',
    'WebRTC (TURN over TCP)',
  ]);
  assert.equal(plain(size(1280, 720)), '1280 × 720');
  assert.equal(size(0, 0), '–');
});
