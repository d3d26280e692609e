import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limitWords, readRecordedStats, readSendStats, type Stat } from '../app/pure/stats.ts';

function snapshot(videoBytes: number, audioBytes: number): Stat[] {
  return [
    { id: 'cv', type: 'codec', mimeType: 'video/VP8' },
    { id: 'ca', type: 'codec', mimeType: 'audio/opus' },
    {
      id: 'v',
      type: 'outbound-rtp',
      kind: 'video',
      codecId: 'cv',
      bytesSent: videoBytes,
      headerBytesSent: 100,
      frameWidth: 1280,
      frameHeight: 720,
      framesPerSecond: 29,
      qualityLimitationReason: 'cpu',
    },
    { id: 'a', type: 'outbound-rtp', kind: 'audio', codecId: 'ca', bytesSent: audioBytes },
    {
      id: 'rv',
      type: 'remote-inbound-rtp',
      kind: 'video',
      packetsLost: 7,
      fractionLost: 0.02,
      roundTripTime: 0.2,
    },
    { id: 'ra', type: 'remote-inbound-rtp', kind: 'audio', packetsLost: -1, fractionLost: 0 },
    { id: 'old', type: 'candidate-pair', nominated: false, state: 'succeeded', currentRoundTripTime: 9 },
    { id: 'p', type: 'candidate-pair', nominated: true, state: 'succeeded', currentRoundTripTime: 0.031 },
  ];
}

test('two snapshots a second apart give the bitrate between them', () => {
  const first = readSendStats(snapshot(100_000, 10_000), 1000, null);
  assert.equal(first.bitrateBps, null);
  const second = readSendStats(snapshot(400_000, 16_000), 2000, first);
  assert.equal(second.bitrateBps, 306_000 * 8);
  assert.deepEqual(
    [
      second.width,
      second.height,
      second.fps,
      second.roundTripSeconds,
      second.packetsLost,
      second.fractionLost,
    ],
    [1280, 720, 29, 0.031, 7, 0.02],
  );
  assert.deepEqual(
    [second.videoCodec, second.audioCodec, second.limitedBy],
    ['video/VP8', 'audio/opus', 'cpu'],
  );
});

test('a new connection whose counters begin again gives no negative bitrate', () => {
  const before = readSendStats(snapshot(100_000, 10_000), 1000, null);
  assert.equal(readSendStats(snapshot(10, 10), 2000, before).bitrateBps, null);
});

test('without a nominated pair the round trip is what the server reported', () => {
  const stats = snapshot(1, 1).filter((stat) => stat.type !== 'candidate-pair');
  assert.equal(readSendStats(stats, 0, null).roundTripSeconds, 0.2);
});

test('an empty report is no readout but no mistake either', () => {
  const readout = readSendStats([], 5, null);
  assert.deepEqual(
    [readout.width, readout.fps, readout.roundTripSeconds, readout.packetsLost],
    [null, null, null, 0],
  );
});

test('the largest simulcast layer is the picture', () => {
  const layer = (id: string, height: number | undefined): Stat => ({
    id,
    type: 'outbound-rtp',
    kind: 'video',
    frameHeight: height,
  });
  assert.equal(readSendStats([layer('a', 180), layer('b', 720), layer('c', undefined)], 0, null).height, 720);
});

test('every reason for less quality has words, and no reason has none', () => {
  assert.equal(limitWords('none'), '');
  for (const reason of ['cpu', 'bandwidth', 'other']) assert.notEqual(limitWords(reason), '');
});

test('a recording has a bitrate of what has left, and neither loss nor round trip', () => {
  const picture = { width: 640, height: 360 };
  const state = { bytesSent: 0, picture, limited: false, videoCodec: 'vp8', audioCodec: 'opus' };
  const first = readRecordedStats(state, 1000, null);
  assert.equal(first.bitrateBps, null);
  const second = readRecordedStats({ ...state, bytesSent: 50_000, limited: true }, 1500, first);
  assert.deepEqual(
    [second.via, second.bitrateBps, second.width, second.fps, second.limitedBy],
    ['webm', 800_000, 640, null, 'bandwidth'],
  );
  assert.deepEqual([second.roundTripSeconds, second.packetsLost], [null, 0]);
  // A new connection counts from nothing.
  assert.equal(readRecordedStats(state, 2000, second).bitrateBps, null);
  assert.equal(readRecordedStats({ ...state, picture: null }, 0, null).width, null);
});
