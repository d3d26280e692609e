import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  aimAt,
  aimByKey,
  behindBy,
  handleAt,
  meansLive,
  moveTo,
  type PlayableWindow,
  placeAfterLoss,
  placeFor,
  placeOf,
  positionOfDate,
  readSeek,
  type Situation,
  spoken,
  steady,
  stepBack,
  whereWords,
} from '../app/pure/timeline.ts';

const window: PlayableWindow = { begin: 100, edge: 220, position: 190, target: 0.6 };
const whep: Situation = { path: 'whep', window: null, past: false, lastLive: 'whep' };
const hls: Situation = { path: 'hls.js', window, past: false, lastLive: 'hls.js' };

test('the handle and the pointer agree', () => {
  assert.equal(handleAt(0, 120), 1);
  assert.equal(handleAt(30, 120), 0.75);
  assert.equal(handleAt(500, 120), 0);
  assert.equal(handleAt(3, 0), 1);
  for (const behind of [0, 15, 60, 120]) assert.equal(aimAt(handleAt(behind, 120), 120), behind);
  assert.equal(aimAt(-0.3, 120), 120);
  assert.equal(aimAt(1.4, 120), 0);
});

test('keys go ten seconds, to the beginning and to live', () => {
  assert.equal(aimByKey('ArrowLeft', 30, 120), 40);
  assert.equal(aimByKey('ArrowRight', 30, 120), 20);
  assert.equal(aimByKey('ArrowRight', 4, 120), 0);
  assert.equal(aimByKey('ArrowLeft', 115, 120), 120);
  assert.equal(aimByKey('Home', 30, 120), 120);
  assert.equal(aimByKey('End', 30, 120), 0);
  assert.equal(aimByKey('x', 30, 120), null);
});

test('a step back never goes forward, and does not need to know the beginning', () => {
  assert.equal(stepBack(0, 30, null), 30);
  assert.equal(stepBack(0, 30, 12), 12);
  assert.equal(stepBack(12, 30, 12), 12);
});

test('WebRTC is left for HLS when somebody goes back, and stays when nobody does', () => {
  assert.equal(moveTo(30, whep), 'begin-there');
  assert.equal(moveTo(1, whep), 'nothing');
});

test('HLS seeks, and is begun again while its window is not known', () => {
  assert.equal(moveTo(30, hls), 'seek');
  assert.equal(moveTo(30, { ...hls, window: null }), 'begin-there');
  assert.equal(moveTo(0, hls), 'jump-to-live');
});

test('live is what played live before', () => {
  assert.equal(moveTo(0, { ...hls, past: true }), 'jump-to-live');
  assert.equal(moveTo(0, { ...hls, past: true, lastLive: 'whep' }), 'begin-live');
  assert.equal(moveTo(0, { ...hls, past: true, lastLive: 'native-hls' }), 'begin-live');
  assert.equal(moveTo(0, { ...hls, past: true, lastLive: null }), 'begin-live');
  assert.equal(moveTo(0, { ...hls, past: true, window: null }), 'begin-live');
  assert.equal(moveTo(0, { path: null, window: null, past: true, lastLive: 'hls.js' }), 'begin-live');
});

test('near enough to the delay of the path is live', () => {
  assert.ok(meansLive(2.5, 0.6));
  assert.ok(!meansLive(2.7, 0.6));
  assert.ok(meansLive(7, 6));
});

test('places stay in the window, and away from its beginning', () => {
  assert.equal(placeFor(150, window), 150);
  assert.equal(placeFor(20, window), 104);
  assert.equal(placeFor(219.9, window), 219.4);
  const short = { begin: 0, edge: 8, position: 0, target: 0.6 };
  assert.equal(placeFor(0, short), 2);
  assert.equal(placeFor(5, { begin: 0, edge: 0.4, position: 0, target: 0.6 }), 0);
});

test('a moment is found by its date, or by how long ago it was', () => {
  const moment = { behind: 30, atMs: 1_000, dateMs: 5_000 };
  assert.equal(behindBy(moment, 3_500), 32.5);
  assert.equal(placeOf(moment, 188.2, window, 3_500), 188.2);
  assert.equal(placeOf(moment, null, window, 3_500), 187.5);
  assert.equal(placeOf(moment, -500, window, 3_500), 104);
});

test('what has left the window goes on at its beginning', () => {
  assert.equal(placeAfterLoss(window), null);
  assert.equal(placeAfterLoss({ ...window, position: 101.5 }), null);
  assert.equal(placeAfterLoss({ ...window, position: 100.5 }), 104);
  assert.equal(placeAfterLoss({ ...window, position: 3 }), 104);
  // A broadcast that has just begun has nothing to fall out of.
  assert.equal(placeAfterLoss({ begin: 0, edge: 3, position: 0, target: 0.6 }), null);
});

test('whoever stays at the beginning is not thrown about as segments leave', () => {
  let { begin, edge } = window;
  let position = placeFor(begin, window);
  let jumps = 0;
  for (let seconds = 0; seconds < 60; seconds += 0.25) {
    position += 0.25;
    edge += 0.25;
    if (seconds % 2 === 0) begin += 2;
    if (placeAfterLoss({ ...window, begin, edge, position }) !== null) jumps++;
  }
  assert.equal(jumps, 0);
});

test("the browser's own controls go back and to live as well, and corrections of a player do not", () => {
  assert.equal(readSeek(219, { ...window, position: 190 }, false), 'past');
  assert.equal(readSeek(190.5, { ...window, position: 190 }, false), null);
  assert.equal(readSeek(150, { ...window, position: 219 }, true), 'live');
  assert.equal(readSeek(150, { ...window, position: 180 }, true), null);
  // A jump to the live edge after a stall.
  assert.equal(readSeek(190, { ...window, position: 219 }, false), null);
});

test('dates are found within segments, and gaps are cut out', () => {
  const segments = [
    { start: 0, duration: 2, dateMs: 10_000 },
    { start: 2, duration: 2, dateMs: 12_000 },
    // The publisher was away for 20 s.
    { start: 4, duration: 2, dateMs: 34_000 },
  ];
  assert.equal(positionOfDate(segments, 10_500), 0.5);
  assert.equal(positionOfDate(segments, 13_000), 3);
  assert.equal(positionOfDate(segments, 20_000), 4);
  assert.equal(positionOfDate(segments, 35_000), 5);
  assert.equal(positionOfDate(segments, 37_000), 7);
  assert.equal(positionOfDate(segments, 4_000), -6);
  assert.equal(positionOfDate([], 4_000), null);
});

test('words', () => {
  assert.equal(whereWords(null), 'LIVE');
  assert.equal(whereWords(83.2), '-1:23');
  assert.equal(whereWords(3_700), '-1:01:40');
  assert.equal(spoken(null), 'Live');
  assert.equal(spoken(83), '1 minute 23 seconds behind live');
  assert.equal(spoken(3_600), '1 hour behind live');
});

test('the number does not flicker', () => {
  assert.equal(steady(null, 29.6), 30);
  assert.equal(steady(30, 29.4), 30);
  assert.equal(steady(30, 30.7), 30);
  assert.equal(steady(30, 31), 31);
});
