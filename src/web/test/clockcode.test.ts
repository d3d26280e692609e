import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CELLS, decodeClock, encodeClock } from '../app/pure/clockcode.ts';

const NOW = Date.UTC(2026, 10, 22, 22, 15, 30, 123);
const shades = (cells: number[], black: number, white: number): number[] =>
  cells.map((cell) => (cell === 1 ? white : black));

test('a clock that was drawn is read back to the millisecond', () => {
  for (let ms = NOW; ms < NOW + 5000; ms += 37) {
    assert.equal(decodeClock(shades(encodeClock(ms), 0, 255), ms + 250), ms);
  }
});

test('video levels and a dim screen do not matter', () => {
  assert.equal(decodeClock(shades(encodeClock(NOW), 16, 235), NOW), NOW);
  assert.equal(decodeClock(shades(encodeClock(NOW), 60, 130), NOW), NOW);
});

test('a picture without a strip gives no time', () => {
  for (const level of [0, 128, 255]) assert.equal(decodeClock(new Array(CELLS).fill(level), NOW), null);
  const bars = Array.from({ length: CELLS }, (_, i) => (i % 2 === 0 ? 255 : 0));
  assert.equal(decodeClock(bars, NOW), null);
});

test('one wrong cell anywhere is noticed', () => {
  const cells = encodeClock(NOW);
  for (let i = 4; i < CELLS; i++) {
    const wrong = [...cells];
    wrong[i] = 1 - (wrong[i] ?? 0);
    assert.equal(decodeClock(shades(wrong, 0, 255), NOW), null, `cell ${i}`);
  }
});

test('a picture drawn just before the counter wraps is not two years old', () => {
  const wrap = 2 ** 36 * 26;
  assert.equal(decodeClock(shades(encodeClock(wrap - 100), 0, 255), wrap + 100), wrap - 100);
});
