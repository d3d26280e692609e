import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEFAULTS, geometry, maxVideoBitrateBps, RESOLUTIONS, readQuery } from '../app/pure/settings.ts';

test('without a query everything is as usual, and nothing starts by itself', () => {
  assert.deepEqual(readQuery(''), { settings: DEFAULTS, autostart: false, via: 'auto', unknown: [] });
});

test('a full query is taken over', () => {
  const asked = readQuery(
    '?source=canvas&video=AV1&audio=off&sound=music&resolution=1080p&fps=60&autostart=1&tone=steady&via=webm',
  );
  assert.deepEqual(asked, {
    settings: { source: 'canvas', video: 'av1', audio: false, sound: 'music', resolution: '1080p', fps: 60 },
    autostart: true,
    via: 'webm',
    unknown: [],
  });
});

test('wrong values are named, and the default stays', () => {
  const asked = readQuery('?video=h265&fps=1000&audio=perhaps&source=&via=rtmp');
  assert.deepEqual(asked.settings, DEFAULTS);
  assert.deepEqual(asked.unknown, ['source=', 'video=h265', 'audio=perhaps', 'fps=1000', 'via=rtmp']);
});

test('more pixels and more frames may use more bits', () => {
  const rates = RESOLUTIONS.map((resolution) => maxVideoBitrateBps(resolution, 30, 'vp8'));
  assert.deepEqual(rates, [800_000, 1_400_000, 2_500_000, 5_000_000]);
  assert.equal(maxVideoBitrateBps('720p', 60, 'h264'), 3_750_000);
  assert.equal(maxVideoBitrateBps('720p', 15, 'auto'), 1_750_000);
  assert.equal(maxVideoBitrateBps('720p', 30, 'av1'), 1_875_000);
});

test('all geometries are even, as 4:2:0 needs', () => {
  for (const resolution of RESOLUTIONS) {
    const { width, height } = geometry(resolution);
    assert.equal((width % 2) + (height % 2), 0);
  }
});
