/** What the front page makes of events. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  afterEvent,
  type Board,
  type BoardStream,
  boardOf,
  ladderWords,
  lossWords,
  recordingWords,
  viewerWords,
  workerWords,
} from '../app/pure/board.ts';

function stream(name: string, state: BoardStream['state'] = 'live'): BoardStream {
  const hls = `/hls/${name}/index.m3u8`;
  return { name, state, since: '2026-01-01T00:00:00.000Z', video: null, audio: null, output: null, hls };
}

test('a board follows the life of a stream', () => {
  const viewers = { webrtc: 2, hls: 1 };
  let board: Board = afterEvent(new Map(), 'snapshot', { streams: [stream('old')] });
  board = afterEvent(board, 'stream-started', stream('demo'));
  assert.deepEqual([...board.keys()], ['old', 'demo']);
  board = afterEvent(board, 'viewers', { stream: 'demo', viewers });
  assert.deepEqual(board.get('demo'), { ...stream('demo'), viewers });
  board = afterEvent(board, 'stream-updated', stream('demo', 'waiting'));
  assert.equal(board.get('demo')?.state, 'waiting');
  board = afterEvent(board, 'stream-ended', { stream: 'demo' });
  assert.deepEqual([...board.keys()], ['old']);
  board = afterEvent(board, 'snapshot', { streams: [] });
  assert.equal(board.size, 0);
});

test('viewers of a stream that is not on the board put none there', () => {
  const board = boardOf([stream('a')]);
  assert.equal(afterEvent(board, 'viewers', { stream: 'b', viewers: { webrtc: 1, hls: 0 } }), board);
});

test('a board is never changed in place', () => {
  const board = boardOf([stream('a')]);
  afterEvent(board, 'stream-ended', { stream: 'a' });
  assert.equal(board.size, 1);
});

test('what has ended is not on air', () => {
  assert.deepEqual([...boardOf([stream('a', 'ended'), stream('b', 'waiting')]).keys()], ['b']);
});

test('what is recorded, in words', () => {
  assert.equal(recordingWords(undefined), '');
  const recording = { state: 'on', bytes: 12_345_678, duration_ms: 102_900, reason: null } as const;
  assert.equal(recordingWords(recording), '1:42, 12.3\u00a0MB');
  assert.equal(recordingWords({ ...recording, state: 'off' }), '');
  assert.equal(
    recordingWords({ ...recording, state: 'failed', reason: 'the disk is full' }),
    'stopped: the disk is full',
  );
});

test('viewers, loss and workers in words', () => {
  assert.equal(viewerWords(undefined), '');
  assert.equal(viewerWords({ webrtc: 0, hls: 0 }), 'nobody');
  assert.equal(viewerWords({ webrtc: 12, hls: 3 }), '12 by WebRTC · 3 by HLS');
  const video = { codec: 'VP8', width: 1, height: 1, fps: 1, bitrate_bps: 1 };
  const audio = { codec: 'opus', channels: 2, sample_rate: 48_000, bitrate_bps: 1 };
  assert.equal(lossWords({ video, audio }), '');
  assert.equal(lossWords({ video: { ...video, loss_fraction: 0 }, audio: null }), 'none');
  const both = { video: { ...video, loss_fraction: 0.001 }, audio: { ...audio, loss_fraction: 0.0214 } };
  assert.equal(lossWords(both), '2.1\u00a0%');
  assert.equal(lossWords({ video: { ...video, loss_fraction: 0.0004 }, audio: null }), 'below 0.1\u00a0%');
  assert.equal(workerWords(null), '');
  assert.equal(workerWords({ state: 'idle', restarts: 0 }), 'not needed');
  assert.equal(workerWords({ state: 'running', restarts: 2 }), 'running · restarted 2 times');
});

test('a ladder says what is encoded and what there is no room for', () => {
  const rung = (name: string) => ({ name, width: 854, height: 480, bitrate_bps: 1_000_000 });
  const whole = { encoded: [rung('source'), rung('480p')], cut: [], reason: 'fits' as const, asleep: false };
  assert.equal(ladderWords(undefined), '');
  assert.equal(ladderWords(whole), 'source, 480p');
  const cut = { ...whole, encoded: [rung('480p')], cut: ['source'], reason: 'machine-full' as const };
  assert.equal(ladderWords(cut), '480p · no room for source');
  assert.equal(
    ladderWords({ encoded: [], cut: [], reason: null, asleep: true }),
    'on demand: nobody watches',
  );
});
