import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findLink, iceServers, readLinks } from '../app/pure/links.ts';

test('ICE servers come from Link headers, quoted commas and all', () => {
  const header =
    '<stun:stun.example.net>; rel="ice-server", ' +
    '<turn:turn.example.net?transport=udp>; rel="ice-server"; username="a,b;c"; credential="d\\"e"; credential-type="password", ' +
    '</style.css>; rel=preload, <turn:not.this.one>; rel="alternate", <https://x/>; rel="ice-server"';
  assert.deepEqual(iceServers(readLinks(header)), [
    { urls: 'stun:stun.example.net' },
    { urls: 'turn:turn.example.net?transport=udp', username: 'a,b;c', credential: 'd"e' },
  ]);
  assert.deepEqual(readLinks(null), []);
  assert.deepEqual(iceServers(readLinks('nonsense, <unclosed; rel="ice-server"')), []);
});

test('an extension is found by its relation, among several and without case', () => {
  const links = readLinks(
    '</whep/a/1/layer>; rel="urn:ietf:params:whep:ext:core:layer", ' +
      '</whep/a/1/sse?token=a,b>;REL="x URN:ietf:params:whep:ext:core:server-sent-events"; events="active,inactive"',
  );
  const found = findLink(links, 'urn:ietf:params:whep:ext:core:server-sent-events');
  assert.equal(found?.target, '/whep/a/1/sse?token=a,b');
  assert.equal(found?.params.get('events'), 'active,inactive');
  assert.equal(findLink(links, 'urn:ietf:params:whep:ext:core'), null);
});

test('the first of two relations counts, and a parameter may have no value', () => {
  const [link] = readLinks('<a>; rel=one; rel=two; crossorigin; title=""');
  assert.deepEqual(
    [...(link?.params ?? [])],
    [
      ['rel', 'one'],
      ['crossorigin', ''],
      ['title', ''],
    ],
  );
});
