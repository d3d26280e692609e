import assert from 'node:assert/strict';
import { test } from 'node:test';
import { codecName, preferences, sendable } from '../app/pure/codecs.ts';

const CHROMIUM = [
  { mimeType: 'video/VP8' },
  { mimeType: 'video/rtx' },
  { mimeType: 'video/VP9', sdpFmtpLine: 'profile-id=2' },
  { mimeType: 'video/VP9', sdpFmtpLine: 'profile-id=0' },
  { mimeType: 'video/H264', sdpFmtpLine: 'packetization-mode=0;profile-level-id=42e01f' },
  { mimeType: 'video/H264', sdpFmtpLine: 'packetization-mode=1;profile-level-id=42e01f' },
  { mimeType: 'video/ulpfec' },
];

test('only what the browser can send is offered', () => {
  assert.deepEqual(sendable(CHROMIUM), ['auto', 'vp8', 'vp9', 'h264']);
  assert.deepEqual(sendable([{ mimeType: 'video/rtx' }]), []);
});

test('a chosen codec is offered alone, best variant first, with repair', () => {
  assert.deepEqual(
    preferences(CHROMIUM, 'h264')?.map((codec) => codec.sdpFmtpLine ?? codec.mimeType),
    [
      'packetization-mode=1;profile-level-id=42e01f',
      'packetization-mode=0;profile-level-id=42e01f',
      'video/rtx',
      'video/ulpfec',
    ],
  );
  assert.equal(preferences(CHROMIUM, 'vp9')?.[0]?.sdpFmtpLine, 'profile-id=0');
});

test('automatic leaves the order to the browser, and a missing codec is an empty list', () => {
  assert.equal(preferences(CHROMIUM, 'auto'), null);
  assert.deepEqual(preferences(CHROMIUM, 'av1'), []);
});

test('codec names of WebRTC, HLS and the API read the same', () => {
  const names = [
    'video/VP8',
    'vp09.00.10.08',
    'avc1.42c01e',
    'h264',
    'av01.0.04M.08',
    'opus',
    'mp4a.40.2',
    'dirac',
  ];
  assert.deepEqual(names.map(codecName), ['VP8', 'VP9', 'H.264', 'H.264', 'AV1', 'Opus', 'AAC', 'dirac']);
});
