/** By which way a stream plays, and what may be chosen of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pathOrder, pathOrderInPast, readWish, refusalEnd, usablePaths } from '../app/pure/choose.ts';
import { layerChoice, readLayers } from '../app/pure/layers.ts';

const ALL = { webrtc: true, mse: true, nativeHls: true };

test('WebRTC goes first; Safari plays HLS itself, the others by hls.js', () => {
  assert.deepEqual(pathOrder({ vendor: 'Apple Computer, Inc.', ...ALL }, null), [
    'whep',
    'native-hls',
    'hls.js',
  ]);
  assert.deepEqual(pathOrder({ vendor: 'Google Inc.', ...ALL }, null), ['whep', 'hls.js', 'native-hls']);
});

test('the past is played by HLS, whatever is wished for live', () => {
  const safari = { vendor: 'Apple Computer, Inc.', ...ALL };
  assert.deepEqual(pathOrderInPast(safari, null), ['native-hls', 'hls.js']);
  assert.deepEqual(pathOrderInPast(safari, 'whep'), ['native-hls', 'hls.js']);
  assert.deepEqual(pathOrderInPast(safari, 'hls.js'), ['hls.js']);
  const other = { vendor: 'Google Inc.', ...ALL };
  assert.deepEqual(pathOrderInPast(other, null), ['hls.js']);
  assert.deepEqual(pathOrderInPast(other, 'native-hls'), ['hls.js']);
  assert.deepEqual(pathOrderInPast({ ...other, mse: false }, null), []);
});

test('what the browser lacks is not tried', () => {
  const none = { vendor: 'x', webrtc: false, mse: false, nativeHls: false };
  assert.deepEqual(usablePaths(none), []);
  assert.deepEqual(usablePaths({ ...none, mse: true }), ['hls.js']);
  assert.deepEqual(pathOrder({ ...none, mse: true }, 'whep'), ['hls.js']);
});

test('a wish that can be had is the only way', () => {
  assert.deepEqual(pathOrder({ vendor: 'x', ...ALL }, 'native-hls'), ['native-hls']);
  assert.deepEqual(pathOrder({ vendor: 'x', ...ALL }, 'whep'), ['whep']);
  assert.deepEqual(['auto', '', 'flash', null].map(readWish), [null, null, null, null]);
  assert.equal(readWish('hls.js'), 'hls.js');
});

test('a refused offer means absence, a missing key, or another way', () => {
  assert.deepEqual([404, 409, 410].map(refusalEnd), Array(3).fill('offline'));
  assert.deepEqual([401, 403].map(refusalEnd), Array(2).fill('refused'));
  assert.deepEqual([400, 406, 415, 422, 429, 500, 503].map(refusalEnd), Array(7).fill('unusable'));
});

test('layers are read in the present form and in the older one', () => {
  const now = {
    1: [
      { rid: 'h', encodingId: 'h', bitrate: 900, codec: 'VP8' },
      { rid: 'l', bitrate: 0 },
    ],
  };
  assert.deepEqual(
    readLayers(now).map((layer) => [layer.mediaId, layer.id, layer.bitrateBps]),
    [
      ['1', 'h', 900],
      ['1', 'l', 0],
    ],
  );
  const [old] = readLayers({
    0: { active: [{ id: '2', encodingId: '2', width: 640, height: 360 }], inactive: [] },
  });
  assert.deepEqual([old?.id, old?.height, old?.bitrateBps], ['2', 360, null]);
});

test('a layer is chosen under the name by which it was listed', () => {
  const [fresh] = readLayers({ 1: [{ rid: 'h' }] });
  const [old] = readLayers({ 1: [{ encodingId: '2' }] });
  assert.ok(fresh !== undefined && old !== undefined);
  assert.deepEqual(layerChoice(fresh), { mediaId: '1', rid: 'h' });
  assert.deepEqual(layerChoice(old), { mediaId: '1', encodingId: '2' });
});

test('nonsense has no layers', () => {
  for (const data of [null, 7, 'x', [], { 0: 7 }, { 0: [null, 'h', {}, { rid: 3 }] }, { 0: { active: 1 } }]) {
    assert.deepEqual(readLayers(data), [], JSON.stringify(data));
  }
});
