import assert from 'node:assert/strict';
import { test } from 'node:test';
import { latencySeconds, ReceiveMeter } from '../app/pure/receive.ts';
import type { Stat } from '../app/pure/stats.ts';

interface Counts {
  bytes?: number;
  received?: number;
  lost?: number;
  frames?: number;
  delay?: number;
  emitted?: number;
}

function snapshot({ bytes = 0, received = 0, lost = 0, frames = 0, delay = 0, emitted = 0 }: Counts): Stat[] {
  return [
    { id: 'cv', type: 'codec', mimeType: 'video/VP8' },
    { id: 'ca', type: 'codec', mimeType: 'audio/opus' },
    {
      id: 'v',
      type: 'inbound-rtp',
      kind: 'video',
      codecId: 'cv',
      bytesReceived: bytes,
      packetsReceived: received,
      packetsLost: lost,
      framesDecoded: frames,
      frameWidth: 1280,
      frameHeight: 720,
      jitterBufferDelay: delay,
      jitterBufferEmittedCount: emitted,
      freezeCount: 2,
      totalFreezesDuration: 0.5,
    },
    { id: 'a', type: 'inbound-rtp', kind: 'audio', codecId: 'ca', audioLevel: 0.25, totalAudioEnergy: 3 },
    { id: 'l', type: 'local-candidate', protocol: 'udp', candidateType: 'host' },
    { id: 'old', type: 'candidate-pair', nominated: true, state: 'succeeded', currentRoundTripTime: 9 },
    {
      id: 'p',
      type: 'candidate-pair',
      state: 'succeeded',
      currentRoundTripTime: 0.02,
      localCandidateId: 'l',
    },
    { id: 't', type: 'transport', selectedCandidatePairId: 'p' },
  ];
}

test('two snapshots give the rates between them', () => {
  const meter = new ReceiveMeter();
  const first = meter.handleStats(snapshot({ bytes: 1000, frames: 10 }), 0);
  assert.deepEqual([first.bitrateBps, first.fps, first.jitterBufferMs], [null, null, null]);
  const next = { bytes: 251_000, frames: 40, delay: 0.9, emitted: 30, received: 99, lost: 1 };
  const second = meter.handleStats(snapshot(next), 1_000);
  assert.deepEqual(
    [second.bitrateBps, second.fps, second.jitterBufferMs, second.fractionLost],
    [2_000_000, 30, 30, 0.01],
  );
  assert.deepEqual(
    [second.videoCodec, second.audioCodec, second.width, second.height],
    ['video/VP8', 'audio/opus', 1280, 720],
  );
  assert.deepEqual(
    [second.freezeCount, second.totalFreezesSeconds, second.audioLevel, second.totalAudioEnergy],
    [2, 0.5, 0.25, 3],
  );
  assert.deepEqual([second.rttMs, second.transport], [20, 'udp']);
  assert.equal(latencySeconds(second), 0.04);
});

test('loss is that of the last five seconds, and all of it is counted', () => {
  const meter = new ReceiveMeter();
  let readout = meter.handleStats(snapshot({ received: 0, lost: 0 }), 0);
  for (let second = 1; second <= 20; second++) {
    // Ten of every hundred are lost in the first three seconds, and none later.
    const lost = Math.min(second, 3) * 10;
    readout = meter.handleStats(snapshot({ received: second * 100 - lost, lost }), second * 1_000);
    if (second === 3) assert.equal(readout.fractionLost, 0.1);
    if (second === 6) assert.equal(readout.fractionLost, 20 / 500);
    if (second === 8) assert.equal(readout.fractionLost, 0);
  }
  assert.equal(readout.packetsLost, 30);
});

test('a packet that was late after all is no negative loss', () => {
  const meter = new ReceiveMeter();
  meter.handleStats(snapshot({ received: 100, lost: 5 }), 0);
  const readout = meter.handleStats(snapshot({ received: 200, lost: 3 }), 1_000);
  assert.deepEqual([readout.fractionLost, readout.packetsLost], [0, 3]);
});

test('counters that begin again give no rate', () => {
  const meter = new ReceiveMeter();
  meter.handleStats(snapshot({ bytes: 5_000, received: 500 }), 0);
  const readout = meter.handleStats(snapshot({ bytes: 100, received: 5 }), 1_000);
  assert.deepEqual([readout.bitrateBps, readout.fractionLost], [null, 0]);
});

test('sound alone has a jitter buffer too', () => {
  const meter = new ReceiveMeter();
  const sound = (delay: number, emitted: number): Stat[] => [
    {
      id: 'a',
      type: 'inbound-rtp',
      kind: 'audio',
      jitterBufferDelay: delay,
      jitterBufferEmittedCount: emitted,
    },
  ];
  meter.handleStats(sound(0, 0), 0);
  const readout = meter.handleStats(sound(960, 48_000), 1_000);
  assert.deepEqual([readout.jitterBufferMs, readout.fps, readout.width], [20, null, null]);
});

test('an empty report is no mistake, and a relayed way is named', () => {
  const meter = new ReceiveMeter();
  const readout = meter.handleStats([], 0);
  assert.deepEqual([readout.rttMs, readout.transport, latencySeconds(readout)], [null, null, null]);
  const relayed = meter.handleStats(
    [
      { id: 'l', type: 'local-candidate', protocol: 'udp', candidateType: 'relay', relayProtocol: 'tls' },
      { id: 'p', type: 'candidate-pair', state: 'succeeded', nominated: true, localCandidateId: 'l' },
    ],
    0,
  );
  assert.equal(relayed.transport, 'turn-tls');
});
