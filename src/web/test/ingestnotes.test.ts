import assert from 'node:assert/strict';
import { test } from 'node:test';
import { closeProblem, kindsNotTaken, readNote, socketAddress } from '../app/pure/ingestnotes.ts';

test('what the server says is understood', () => {
  assert.deepEqual(
    readNote('{"type":"begin","tracks":["video","audio"],"refused":[{"track":3,"reason":"x"}]}'),
    { type: 'begin', tracks: ['video', 'audio'] },
  );
  assert.deepEqual(readNote('{"type":"flow","paused":true,"ahead_ms":2010}'), { type: 'flow', paused: true });
  assert.deepEqual(readNote('{"type":"flow","paused":false}'), { type: 'flow', paused: false });
  assert.deepEqual(readNote('{"type":"end","frames":10,"dropped":0}'), { type: 'end' });
  assert.deepEqual(readNote('{"type":"error","status":415,"title":"No usable track","detail":"Say VP8."}'), {
    type: 'error',
    problem: { status: 415, title: 'No usable track', detail: 'Say VP8.' },
  });
});

test('what is not understood is passed over', () => {
  for (const text of ['', 'hello', 'null', '7', '[]', '{}', '{"type":"weather"}']) {
    assert.equal(readNote(text), null, text);
  }
  assert.deepEqual(readNote('{"type":"begin","tracks":"video"}'), { type: 'begin', tracks: [] });
  assert.deepEqual(readNote('{"type":"begin","tracks":["video",7]}'), { type: 'begin', tracks: ['video'] });
});

test('a close code of the server stands for a status, others for nothing', () => {
  assert.equal(closeProblem(4409, 'Another publisher')?.status, 409);
  assert.equal(closeProblem(4503, '')?.status, 503);
  for (const code of [1000, 1005, 1006, 1011, 4000, 4399, 4600])
    assert.equal(closeProblem(code, ''), null, String(code));
});

test('a kind that was sent and is not taken is named', () => {
  assert.deepEqual(kindsNotTaken(['video', 'audio'], ['audio']), ['video']);
  assert.deepEqual(kindsNotTaken(['audio'], ['audio']), []);
});

test('the socket has the address of the page, with the key in it', () => {
  const at = (address: string, token: string | null): string => socketAddress(new URL(address), token).href;
  assert.equal(at('http://h:8080/ingest/webm/a', null), 'ws://h:8080/ingest/webm/a');
  assert.equal(at('https://h/ingest/webm/a#x', 'x+y'), 'wss://h/ingest/webm/a?token=x%2By');
});
