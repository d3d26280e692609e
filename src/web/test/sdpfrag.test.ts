import assert from 'node:assert/strict';
import { test } from 'node:test';
import { candidatesIn, isIceLite, readFragment, restarted, writeFragment } from '../app/pure/sdpfrag.ts';

const sdp = (...lines: string[]): string => `${lines.join('\r\n')}\r\n`;

const LOCAL = sdp(
  'v=0',
  'a=group:BUNDLE 0 1',
  'm=audio 9 UDP/TLS/RTP/SAVPF 111 63',
  'a=ice-ufrag:EsAw',
  'a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1',
  'a=mid:0',
  'a=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host',
  'a=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host',
  'm=video 9 UDP/TLS/RTP/SAVPF 96',
  'a=ice-ufrag:EsAw',
  'a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1',
  'a=mid:1',
);

const ANSWER = sdp(
  'v=0',
  'a=group:BUNDLE 1',
  'a=ice-lite',
  'm=audio 0 UDP/TLS/RTP/SAVPF 111',
  'a=mid:0',
  'm=video 9 UDP/TLS/RTP/SAVPF 96',
  'a=mid:1',
  'a=setup:passive',
  'a=ice-ufrag:old',
  'a=ice-pwd:oldoldoldoldoldoldoldold',
  'a=candidate:1 1 udp 1 192.0.2.7 8190 typ host',
  'a=end-of-candidates',
);

test('a fragment has the credentials and the tagged section alone', () => {
  assert.equal(
    writeFragment(LOCAL, candidatesIn(LOCAL), true),
    sdp(
      'a=group:BUNDLE 0 1',
      'a=ice-ufrag:EsAw',
      'a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1',
      'm=audio 9 UDP/TLS/RTP/SAVPF 111 63',
      'a=mid:0',
      'a=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host',
      'a=end-of-candidates',
    ),
  );
});

test('a fragment without candidates that are still to come does not end them', () => {
  const fragment = readFragment(writeFragment(LOCAL, [], false));
  assert.deepEqual(fragment, {
    credentials: { ufrag: 'EsAw', pwd: 'P2uYro0UCOQ4zxjKXaWCBui1' },
    candidates: [],
    ended: false,
  });
});

test('credentials are read above the sections and inside of them', () => {
  const above = sdp('a=ice-ufrag:new', 'a=ice-pwd:pppp', 'm=audio 9 UDP/TLS/RTP/SAVPF 0', 'a=mid:0');
  const inside = sdp('m=audio 9 UDP/TLS/RTP/SAVPF 0', 'a=mid:0', 'a=ice-ufrag:new', 'a=ice-pwd:pppp');
  for (const text of [above, inside, inside.replaceAll('\r\n', '\n')]) {
    assert.deepEqual(readFragment(text).credentials, { ufrag: 'new', pwd: 'pppp' });
  }
  assert.equal(readFragment('a=ice-ufrag:half\r\n').credentials, null);
  assert.deepEqual(readFragment(''), { credentials: null, candidates: [], ended: false });
});

test('a restart changes ICE and nothing else, in the section that is not refused', () => {
  const fragment = readFragment(
    sdp('a=ice-ufrag:new', 'a=ice-pwd:pppp', 'a=candidate:9 1 udp 1 198.51.100.1 8190 typ host'),
  );
  assert.equal(
    restarted(ANSWER, fragment),
    ANSWER.replace('ufrag:old', 'ufrag:new')
      .replace('pwd:oldoldoldoldoldoldoldold', 'pwd:pppp')
      .replace('a=candidate:1 1 udp 1 192.0.2.7', 'a=candidate:9 1 udp 1 198.51.100.1')
      .replace('a=end-of-candidates\r\n', ''),
  );
});

test('a server that names no candidates has not moved', () => {
  const after = restarted(ANSWER, { credentials: { ufrag: 'n', pwd: 'p' }, candidates: [], ended: false });
  assert.deepEqual(candidatesIn(after), candidatesIn(ANSWER));
  assert.throws(() => restarted(ANSWER, { credentials: null, candidates: [], ended: false }));
});

test('every section gets the new credentials, and the first taken one the candidates', () => {
  const both = ANSWER.replace('m=audio 0', 'm=audio 9').replace(
    'a=mid:0\r\n',
    'a=mid:0\r\na=ice-ufrag:old\r\na=ice-pwd:old\r\n',
  );
  const fragment = { credentials: { ufrag: 'n', pwd: 'p' }, candidates: ['candidate:9 x'], ended: true };
  const lines = restarted(both, fragment).split('\r\n');
  assert.equal(lines.filter((line) => line === 'a=ice-ufrag:n').length, 2);
  assert.ok(lines.indexOf('a=candidate:9 x') < lines.indexOf('m=video 9 UDP/TLS/RTP/SAVPF 96'));
  assert.deepEqual(
    lines.filter((line) => /candidate/.test(line)),
    ['a=candidate:9 x', 'a=end-of-candidates'],
  );
});

test('an ICE-lite server is known by its attribute', () => {
  assert.equal(isIceLite(ANSWER), true);
  assert.equal(isIceLite(LOCAL), false);
});
