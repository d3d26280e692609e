import assert from 'node:assert/strict';
import { test } from 'node:test';
import { handshakeFailed, iceFailed, socketFailed } from '../app/pure/failures.ts';
import { type Ended, failureToShow, firstVia, nextVia, noVia, viaReason, viaWords } from '../app/pure/way.ts';

const BOTH = { webrtc: true, webm: true };

test('WebRTC comes first, WebM where there is none', () => {
  assert.equal(firstVia('auto', BOTH), 'webrtc');
  assert.equal(firstVia('auto', { webrtc: true, webm: false }), 'webrtc');
  assert.equal(firstVia('auto', { webrtc: false, webm: true }), 'webm');
  assert.equal(firstVia('auto', { webrtc: false, webm: false }), null);
});

test('who insists on a way gets it, or nothing', () => {
  assert.equal(firstVia('webm', BOTH), 'webm');
  assert.equal(firstVia('webrtc', BOTH), 'webrtc');
  assert.equal(firstVia('webm', { webrtc: true, webm: false }), null);
  assert.equal(firstVia('webrtc', { webrtc: false, webm: true }), null);
  assert.deepEqual(
    [noVia('webm').code, noVia('webrtc').code, noVia('auto').code],
    ['no-recorder', 'no-webrtc', 'no-webrtc'],
  );
});

const ICE_FAILED: Ended = {
  via: 'webrtc',
  wish: 'auto',
  can: BOTH,
  code: iceFailed('host', []).code,
  wasLiveByWebRtc: false,
};

test('a path that cannot be made leads to WebM', () => {
  assert.equal(nextVia(ICE_FAILED), 'webm');
  assert.equal(nextVia({ ...ICE_FAILED, code: handshakeFailed().code }), 'webm');
});

test('what WebM would not change does not lead to it', () => {
  for (const code of [null, 'server-refused', 'server-unreachable', 'codec-missing', 'taken-over']) {
    assert.equal(nextVia({ ...ICE_FAILED, code }), 'webrtc', String(code));
  }
});

test('a stream that was live by WebRTC comes back by WebRTC', () => {
  assert.equal(nextVia({ ...ICE_FAILED, wasLiveByWebRtc: true }), 'webrtc');
});

test('nothing leads where it is not wanted or not possible, and nothing back from WebM', () => {
  assert.equal(nextVia({ ...ICE_FAILED, wish: 'webrtc' }), 'webrtc');
  assert.equal(nextVia({ ...ICE_FAILED, can: { webrtc: true, webm: false } }), 'webrtc');
  assert.equal(nextVia({ ...ICE_FAILED, via: 'webm' }), 'webm');
  assert.equal(nextVia({ ...ICE_FAILED, via: 'webm', code: socketFailed().code }), 'webm');
});

test('when both ways have failed both are told of, under the code of the first', () => {
  const webrtc = iceFailed('host', []);
  const both = failureToShow(socketFailed(), webrtc);
  assert.equal(both?.code, 'ice-failed');
  assert.equal(both?.title, webrtc.title);
  assert.ok(both?.hint.includes(socketFailed().title));
  assert.deepEqual(failureToShow(socketFailed(), null), socketFailed());
  assert.equal(failureToShow(null, webrtc), null);
});

test('the page says that it does not use WebRTC, and why, and nothing when it does', () => {
  assert.deepEqual([viaWords('webrtc'), viaWords('webm')], ['', 'Sent as WebM over WebSocket.']);
  assert.equal(viaReason('webrtc', 'auto', null), '');
  assert.match(viaReason('webm', 'auto', handshakeFailed()), /WebRTC could not connect.*WebM/);
  assert.match(viaReason('webm', 'auto', null), /no WebRTC/);
  assert.match(viaReason('webm', 'webm', null), /address/);
});
