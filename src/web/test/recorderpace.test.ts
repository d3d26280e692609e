import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type PaceAction, RecorderPace } from '../app/pure/recorderpace.ts';

const FULL_BPS = 1_000_000;
const SLICE_MS = 200;
const CHUNK = 25_000;

/** A recorder, and a way that carries so much. */
class Run {
  readonly pace: RecorderPace;
  readonly actions: PaceAction[] = [];
  nowMs = 0;
  waiting = 0;

  constructor(fullBps = FULL_BPS) {
    this.pace = new RecorderPace(fullBps, 0);
  }

  /** @param carried bytes that leave in every slice */
  go(ms: number, carried: number): void {
    for (const end = this.nowMs + ms; this.nowMs < end; ) {
      this.nowMs += SLICE_MS;
      this.waiting = Math.max(0, this.waiting - carried);
      if (!this.pace.draining) {
        this.waiting += CHUNK;
        this.pace.handleChunk(CHUNK, this.nowMs);
      }
      this.look();
    }
  }

  look(): void {
    this.pace.handleBuffered(this.waiting, this.nowMs);
    for (let action = this.pace.pollAction(); action !== null; action = this.pace.pollAction())
      this.actions.push(action);
  }

  /** Nothing leaves until the recorder is stopped; then all of it does. */
  choke(): void {
    while (!this.pace.draining) this.go(SLICE_MS, 0);
    this.waiting = 0;
    this.nowMs += SLICE_MS;
    this.look();
  }

  taken(): PaceAction[] {
    return this.actions.splice(0);
  }
}

test('a way that carries everything changes nothing, ever', () => {
  const run = new Run();
  run.go(200_000, CHUNK);
  assert.deepEqual(run.taken(), []);
  assert.deepEqual([run.pace.videoBps, run.pace.limited], [FULL_BPS, false]);
  assert.equal(run.pace.sent, (run.nowMs / SLICE_MS) * CHUNK - run.waiting);
});

test('three seconds that wait stop the recorder, and it goes on with less when half a second is left', () => {
  const run = new Run();
  run.go(3_200, 0);
  assert.deepEqual(run.taken(), []);
  run.go(SLICE_MS, 0);
  assert.deepEqual(run.taken(), ['stop']);
  assert.deepEqual([run.pace.draining, run.pace.limited, run.pace.videoBps], [true, true, 700_000]);
  // Seventeen chunks wait; with three of them left it is 400 ms.
  run.go(13 * SLICE_MS, CHUNK);
  assert.deepEqual(run.taken(), []);
  assert.equal(run.pace.waitingMs, 600);
  run.go(SLICE_MS, CHUNK);
  assert.deepEqual(run.taken(), ['start']);
  assert.deepEqual([run.pace.draining, run.pace.limited], [false, true]);
});

test('it does not fall below the floor, nor rise to it', () => {
  const run = new Run();
  for (let i = 0; i < 12; i++) run.choke();
  assert.equal(run.pace.videoBps, 150_000);
  const small = new Run(100_000);
  small.choke();
  assert.equal(small.pace.videoBps, 100_000);
});

test('sound alone waits as well, and is never renewed to save something', () => {
  const run = new Run(0);
  run.choke();
  assert.deepEqual(run.taken(), ['stop', 'start']);
  run.go(200_000, CHUNK);
  assert.deepEqual(run.taken(), []);
  assert.deepEqual([run.pace.videoBps, run.pace.limited], [0, false]);
});

test('after every quiet minute a fifth more is tried, up to what was asked for', () => {
  const run = new Run();
  run.choke();
  assert.deepEqual(run.taken(), ['stop', 'start']);
  run.go(59_800, CHUNK);
  assert.deepEqual(run.taken(), []);
  run.go(SLICE_MS, CHUNK);
  assert.deepEqual(run.taken(), ['renew']);
  assert.equal(run.pace.videoBps, 840_000);
  run.go(60_000, CHUNK);
  assert.deepEqual(run.taken(), ['renew']);
  assert.deepEqual([run.pace.videoBps, run.pace.limited], [FULL_BPS, false]);
  run.go(200_000, CHUNK);
  assert.deepEqual(run.taken(), []);
});

test('when more was too much the next try waits longer', () => {
  const run = new Run();
  run.choke();
  run.go(60_000, CHUNK);
  assert.deepEqual(run.taken(), ['stop', 'start', 'renew']);
  run.choke();
  run.taken();
  run.go(119_800, CHUNK);
  assert.deepEqual(run.taken(), []);
  run.go(SLICE_MS, CHUNK);
  assert.deepEqual(run.taken(), ['renew']);
});

test('a server that reads no more because it has enough costs no quality', () => {
  const run = new Run();
  run.pace.handleFlow(true);
  run.go(3_400, 0);
  assert.deepEqual(run.taken(), ['stop']);
  assert.deepEqual([run.pace.draining, run.pace.videoBps], [true, FULL_BPS]);
  run.pace.handleFlow(false);
  run.waiting = 0;
  run.look();
  assert.deepEqual(run.taken(), ['start']);
  // The next time it is the way.
  run.choke();
  assert.equal(run.pace.videoBps, 700_000);
});

test('a connection through which nothing leaves is given up after ten seconds', () => {
  const run = new Run();
  run.go(10_000, 0);
  assert.deepEqual(run.taken(), ['stop']);
  run.go(SLICE_MS, 0);
  assert.deepEqual(run.taken(), ['give-up']);
});

test('a server that holds the connection is not taken for dead', () => {
  const run = new Run();
  run.pace.handleFlow(true);
  run.go(60_000, 0);
  assert.deepEqual(run.taken(), ['stop']);
});

test('a camera that pauses for long is not taken for a dead connection', () => {
  const run = new Run();
  run.go(1_000, CHUNK);
  run.waiting = 0;
  run.look();
  run.nowMs += 30_000;
  run.waiting = CHUNK;
  run.pace.handleChunk(CHUNK, run.nowMs);
  run.look();
  assert.deepEqual(run.taken(), []);
});

test('a gap between two recorders is not taken for something that waits', () => {
  const run = new Run();
  run.go(600, 0);
  run.nowMs += 30_000;
  run.waiting = CHUNK;
  run.look();
  run.waiting += CHUNK;
  run.pace.handleChunk(CHUNK, run.nowMs);
  run.look();
  assert.equal(run.pace.waitingMs, 500);
  assert.deepEqual(run.taken(), []);
});
