import assert from 'node:assert/strict';
import { test } from 'node:test';
import { recordable, recordedCodecs, recorderType, type Wanted } from '../app/pure/recordercodecs.ts';

/** Containers with the codecs that a browser records into them. */
function browser(codecs: Record<string, string[]>): (type: string) => boolean {
  return (type) => {
    const [container = '', list = ''] = type.split(';codecs=');
    return list.split(',').every((codec) => codecs[container]?.includes(codec) ?? false);
  };
}

const CHROMIUM = browser({
  'video/webm': ['vp8', 'vp9', 'h264', 'av1', 'opus'],
  'video/x-matroska': ['avc1', 'opus'],
  'audio/webm': ['opus'],
});
const FIREFOX = browser({ 'video/webm': ['vp8', 'opus'], 'audio/webm': ['opus'] });
const OLD_SAFARI = browser({ 'video/mp4': ['avc1'] });

const typeIn = (isSupported: (type: string) => boolean, video: Wanted['video'], audio = true) =>
  recorderType({ video, audio }, isSupported);

test('by itself it is VP8, in Chromium and in Firefox', () => {
  assert.equal(typeIn(CHROMIUM, 'auto'), 'video/webm;codecs=vp8,opus');
  assert.equal(typeIn(FIREFOX, 'auto'), 'video/webm;codecs=vp8,opus');
  assert.equal(typeIn(FIREFOX, 'auto', false), 'video/webm;codecs=vp8');
});

test('by itself it is whatever there is', () => {
  const matroska = browser({ 'video/x-matroska': ['avc1', 'opus'] });
  assert.equal(typeIn(matroska, 'auto'), 'video/x-matroska;codecs=avc1,opus');
});

test('a codec that was chosen is taken, under the name the browser knows, or nothing', () => {
  assert.equal(typeIn(CHROMIUM, 'vp9'), 'video/webm;codecs=vp9,opus');
  assert.equal(typeIn(CHROMIUM, 'h264'), 'video/webm;codecs=h264,opus');
  assert.equal(
    typeIn(browser({ 'video/x-matroska': ['avc1', 'opus'] }), 'h264'),
    'video/x-matroska;codecs=avc1,opus',
  );
  assert.equal(typeIn(CHROMIUM, 'av1'), 'video/webm;codecs=av1,opus');
  assert.equal(typeIn(browser({ 'video/webm': ['av01', 'opus'] }), 'av1'), 'video/webm;codecs=av01,opus');
  assert.equal(typeIn(FIREFOX, 'vp9'), null);
});

test('sound alone is Opus', () => {
  assert.equal(typeIn(FIREFOX, 'off'), 'audio/webm;codecs=opus');
  assert.equal(typeIn(FIREFOX, 'off', false), null);
  assert.equal(typeIn(OLD_SAFARI, 'off'), null);
});

test('a browser that records something else has none', () => {
  assert.equal(typeIn(OLD_SAFARI, 'auto'), null);
  assert.deepEqual(recordable(OLD_SAFARI), []);
});

test('the form offers what can be recorded', () => {
  assert.deepEqual(recordable(FIREFOX), ['auto', 'vp8']);
  assert.deepEqual(recordable(CHROMIUM), ['auto', 'vp8', 'vp9', 'h264', 'av1']);
});

test('codecs are read from what the recorder says it makes', () => {
  assert.deepEqual(recordedCodecs('video/webm;codecs=vp8,opus'), { video: 'vp8', audio: 'opus' });
  assert.deepEqual(recordedCodecs('video/webm; codecs="vp9, opus"'), { video: 'vp9', audio: 'opus' });
  assert.deepEqual(recordedCodecs('video/x-matroska;codecs=avc1.42001f'), {
    video: 'avc1.42001f',
    audio: null,
  });
  assert.deepEqual(recordedCodecs('audio/webm;codecs=opus'), { video: null, audio: 'opus' });
  assert.deepEqual(recordedCodecs('video/webm'), { video: null, audio: null });
});
