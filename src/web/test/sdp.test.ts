import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  acceptStereo,
  announceStereo,
  askForStereo,
  candidateAddresses,
  refusedKinds,
  refusesEverything,
} from '../app/pure/sdp.ts';

const sdp = (...lines: string[]): string => `${lines.join('\r\n')}\r\n`;

const AUDIO = sdp(
  'v=0',
  'm=audio 9 UDP/TLS/RTP/SAVPF 111 63',
  'a=rtpmap:111 opus/48000/2',
  'a=fmtp:111 minptime=10;useinbandfec=1',
  'a=rtpmap:63 red/48000/2',
  'a=fmtp:63 111/111',
);

test('the offer announces stereo in the Opus line and nowhere else', () => {
  assert.equal(
    announceStereo(AUDIO),
    AUDIO.replace('useinbandfec=1', 'useinbandfec=1;stereo=1;sprop-stereo=1'),
  );
});

test('a viewer says that it wants two channels, and nothing of sending any', () => {
  assert.equal(acceptStereo(AUDIO), AUDIO.replace('useinbandfec=1', 'useinbandfec=1;stereo=1'));
});

test('an answer that forbids or forgets stereo is made to ask for it', () => {
  const forbids = AUDIO.replace('minptime=10', 'stereo=0;minptime=10');
  assert.match(
    askForStereo(forbids, 128_000),
    /^a=fmtp:111 stereo=1;minptime=10;useinbandfec=1;maxaveragebitrate=128000\r$/m,
  );
});

test('an answer without an fmtp line gets one, right after its rtpmap', () => {
  const bare = sdp('m=audio 9 UDP/TLS/RTP/SAVPF 96', 'a=rtpmap:96 opus/48000/2', 'a=recvonly');
  assert.equal(
    askForStereo(bare, 128_000),
    sdp(
      'm=audio 9 UDP/TLS/RTP/SAVPF 96',
      'a=rtpmap:96 opus/48000/2',
      'a=fmtp:96 stereo=1;maxaveragebitrate=128000',
      'a=recvonly',
    ),
  );
});

test('a description without Opus is left as it is', () => {
  const video = sdp('m=video 9 UDP/TLS/RTP/SAVPF 96', 'a=rtpmap:96 VP8/90000', 'a=fmtp:96 max-fs=1');
  assert.equal(announceStereo(video), video);
});

test('refused media sections are told apart from taken ones', () => {
  const half = sdp('v=0', 'm=audio 9 UDP/TLS/RTP/SAVPF 111', 'm=video 0 UDP/TLS/RTP/SAVPF 96');
  assert.deepEqual(refusedKinds(half), ['video']);
  assert.equal(refusesEverything(half), false);
  assert.equal(refusesEverything(half.replace('audio 9', 'audio 0')), true);
  assert.equal(refusesEverything('v=0\r\n'), false);
});

test('the addresses of the server are listed once each', () => {
  const answer = sdp(
    'a=candidate:1 1 udp 2130706431 192.0.2.7 8190 typ host',
    'a=candidate:1 1 UDP 2130706431 192.0.2.7 8190 typ host',
    'a=candidate:2 1 udp 2130706430 2001:db8::7 8191 typ host',
    'a=candidate:3 1 tcp 1 192.0.2.7 8190 typ host tcptype passive',
  );
  assert.deepEqual(candidateAddresses(answer), [
    '192.0.2.7:8190/udp',
    '[2001:db8::7]:8191/udp',
    '192.0.2.7:8190/tcp',
  ]);
});
