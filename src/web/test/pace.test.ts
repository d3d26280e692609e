import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Pace } from '../app/pure/pace.ts';

const target = 0.6;

/** Plays for so many seconds at what the pace says; the buffer ends `0.1` before the live edge. */
function play(behind: number, seconds: number): { behind: number; rates: number[] } {
  const pace = new Pace();
  const rates: number[] = [];
  let at = behind;
  for (let ms = 0; ms < seconds * 1_000; ms += 250) {
    const step = pace.next({ behind: at, target, ahead: at - 0.1 }, ms);
    if (step === 'jump') {
      at = target;
      continue;
    }
    rates.push(step.rate);
    at -= (step.rate - 1) * 0.25;
  }
  return { behind: at, rates };
}

test('a late start is caught up in seconds, and then the rate is left alone', () => {
  const { behind, rates } = play(0.95, 12);
  assert.ok(behind - target < 0.03, `${behind}`);
  assert.ok(rates.every((rate) => rate <= 1.08));
  assert.deepEqual(rates.slice(-8), Array(8).fill(1));
});

test('what is near enough is not touched', () => {
  assert.deepEqual(new Set(play(target + 0.09, 4).rates), new Set([1]));
});

test('an empty buffer is not played faster', () => {
  const pace = new Pace();
  assert.deepEqual(pace.next({ behind: 2, target, ahead: 0.2 }, 0), { rate: 1 });
});

test('far behind jumps, but not again and again', () => {
  const pace = new Pace();
  const lost = { behind: 9, target, ahead: 4 };
  assert.equal(pace.next(lost, 0), 'jump');
  assert.deepEqual(pace.next(lost, 5_000), { rate: 1.08 });
  assert.equal(pace.next(lost, 10_500), 'jump');
});
