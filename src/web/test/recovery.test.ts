import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isOtherNetwork, Recovery } from '../app/pure/recovery.ts';

/** What the machine wants done, in order; nothing may be left. */
function drained(recovery: Recovery): string[] {
  const actions: string[] = [];
  for (let action = recovery.pollAction(); action !== null; action = recovery.pollAction())
    actions.push(action);
  return actions;
}

test('a gap that closes by itself is waited for', () => {
  const recovery = new Recovery();
  recovery.handleIceState('disconnected', 0);
  assert.equal(recovery.troubled, true);
  assert.equal(recovery.pollTimeout(), 1_000);
  recovery.handleTimeout(999);
  assert.deepEqual(drained(recovery), []);
  recovery.handleIceState('connected', 999);
  assert.deepEqual([recovery.troubled, recovery.pollTimeout(), drained(recovery)], [false, null, []]);
});

test('a gap that stays is answered by a restart, once', () => {
  const recovery = new Recovery();
  recovery.handleIceState('disconnected', 0);
  recovery.handleTimeout(1_000);
  assert.deepEqual(drained(recovery), ['restart']);
  assert.equal(recovery.pollTimeout(), null);
  recovery.handleRestarted('applied', 1_050);
  assert.equal(recovery.troubled, true);
  recovery.handleIceState('checking', 1_060);
  recovery.handleIceState('connected', 1_100);
  assert.deepEqual([recovery.troubled, recovery.pollTimeout(), drained(recovery)], [false, null, []]);
});

test('failure and another network are answered at once', () => {
  for (const trouble of [
    (recovery: Recovery) => recovery.handleIceState('failed', 5),
    (recovery: Recovery) => recovery.handleNetworkChange(5),
  ]) {
    const recovery = new Recovery();
    trouble(recovery);
    assert.deepEqual(drained(recovery), ['restart']);
  }
});

test('a network that changes during a restart makes another one', () => {
  const recovery = new Recovery();
  recovery.handleNetworkChange(0);
  assert.deepEqual(drained(recovery), ['restart']);
  recovery.handleNetworkChange(10);
  assert.deepEqual(drained(recovery), []);
  recovery.handleRestarted('applied', 20);
  assert.deepEqual(drained(recovery), ['restart']);
  recovery.handleRestarted('applied', 30);
  assert.equal(recovery.troubled, false, 'the connection stood all the time');
});

test('an unreachable server is asked every second, for twenty seconds', () => {
  const recovery = new Recovery();
  recovery.handleIceState('failed', 0);
  let restarts = 0;
  let nowMs = 0;
  for (;;) {
    const [action] = drained(recovery);
    if (action === 'give-up') break;
    assert.equal(action, 'restart');
    restarts++;
    recovery.handleRestarted('unreachable', nowMs);
    assert.equal(recovery.pollTimeout(), nowMs + 1_000);
    nowMs += 1_000;
    recovery.handleTimeout(nowMs);
  }
  assert.deepEqual([restarts, nowMs], [20, 20_000]);
  assert.equal(recovery.pollTimeout(), null);
});

test('a restart that changes nothing is tried again', () => {
  const recovery = new Recovery();
  recovery.handleIceState('failed', 0);
  drained(recovery);
  recovery.handleRestarted('applied', 100);
  assert.equal(recovery.pollTimeout(), 5_100);
  recovery.handleTimeout(5_100);
  assert.deepEqual(drained(recovery), ['restart']);
});

test('a server that knows no such session is not asked again', () => {
  const recovery = new Recovery();
  recovery.handleNetworkChange(0);
  drained(recovery);
  recovery.handleRestarted('refused', 10);
  assert.deepEqual(drained(recovery), ['give-up']);
  recovery.handleNetworkChange(20);
  recovery.handleIceState('failed', 30);
  assert.deepEqual([drained(recovery), recovery.pollTimeout()], [[], null]);
});

test('a due timer is always consumed', () => {
  const recovery = new Recovery();
  recovery.handleIceState('disconnected', 0);
  const due = recovery.pollTimeout() ?? Number.NaN;
  recovery.handleTimeout(due);
  assert.notEqual(recovery.pollTimeout(), due);
});

test('another network is one of another type, not an estimate that moved', () => {
  assert.equal(isOtherNetwork({ type: 'wifi' }, { type: 'cellular' }), true);
  assert.equal(isOtherNetwork({ type: 'wifi' }, { type: 'wifi' }), false);
  assert.equal(isOtherNetwork({ type: 'wifi' }, { type: 'none' }), false);
  assert.equal(isOtherNetwork({}, {}), false);
});
