import assert from 'node:assert/strict';
import { test } from 'node:test';
import { firstVariant, keptNow, liveDateMs, readListed } from '../app/pure/kept.ts';

const MULTIVARIANT = `#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="sound",URI="audio.m3u8?token=k"
#EXT-X-STREAM-INF:BANDWIDTH=1000000,AUDIO="a"
video.m3u8?token=k
#EXT-X-STREAM-INF:BANDWIDTH=500000,AUDIO="a"
360p.m3u8?token=k
`;
const MEDIA = `#EXTM3U
#EXT-X-TARGETDURATION:2
#EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:00.000Z
#EXTINF:2.00000,
1.m4s
#EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:02.000Z
#EXT-X-PART:DURATION=1.00000,URI="2.0.m4s",INDEPENDENT=YES
#EXT-X-PART:DURATION=1.00000,URI="2.1.m4s"
#EXTINF:2.00000,
2.m4s
#EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:04.000Z
#EXT-X-PART:DURATION=0.20000,URI="3.0.m4s",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.20000,URI="3.1.m4s"
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="3.2.m4s"
`;
const ENDS = Date.parse('2026-01-02T03:04:04.400Z');

test('the first variant, with its key', () => {
  assert.equal(firstVariant(MULTIVARIANT), 'video.m3u8?token=k');
  assert.equal(firstVariant(MEDIA), null);
});

test('segments and the parts after them count once', () => {
  const { seconds, endDateMs } = readListed(MEDIA);
  assert.ok(Math.abs(seconds - 4.4) < 1e-9);
  assert.equal(endDateMs, ENDS);
});

test('a playlist without dates, or of something else, is no error', () => {
  assert.deepEqual(readListed('#EXTM3U\n#EXTINF:2,\n1.ts\n'), { seconds: 2, endDateMs: null });
  assert.deepEqual(readListed('<html>'), { seconds: 0, endDateMs: null });
});

test('a window that grew goes on growing, and a full one does not', () => {
  const look = (atMs: number, seconds: number) => ({ atMs, seconds, endDateMs: null });
  assert.equal(keptNow(null, null, 0), null);
  assert.equal(keptNow(look(0, 40), null, 5_000), 40);
  assert.equal(keptNow(look(20_000, 60), look(0, 40), 25_000), 65);
  assert.equal(keptNow(look(20_000, 120), look(0, 120), 25_000), 120);
});

test('the date of now', () => {
  assert.equal(liveDateMs({ seconds: 4, endDateMs: ENDS, atMs: 500 }, 2_500), ENDS + 2_000);
  assert.equal(liveDateMs({ seconds: 4, endDateMs: null, atMs: 500 }, 2_500), null);
  assert.equal(liveDateMs(null, 2_500), null);
});
