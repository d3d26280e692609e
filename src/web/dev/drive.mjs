/**
 * Drives the built pages in a real Chromium against the stand-in server, as a person would, and takes pictures.
 *
 *     npm run build && node dev/drive.mjs [folder for screenshots] [part of a scenario's name]
 */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { launch } from './chromium.mjs';
import { pastScenarios } from './past.mjs';
import { serve } from './server.mjs';
import { whepScenarios } from './whep.mjs';

const shots = process.argv[2] ?? (await mkdtemp(path.join(tmpdir(), 'skywave-shots-')));
const only = process.argv[3] ?? '';
await mkdir(shots, { recursive: true });

const { origin, stop } = await serve();
const browser = await launch([
  '--use-fake-ui-for-media-stream',
  '--autoplay-policy=no-user-gesture-required',
  // A name that is not localhost: pages under it are not secure contexts.
  '--host-resolver-rules=MAP lan.test 127.0.0.1',
]);
const answerer = await browser.open(`${origin}/dev/answerer`);

const post = (where, body) => fetch(`${origin}/dev/${where}`, { method: 'POST', body: JSON.stringify(body) });
const log = async (what) =>
  (await (await fetch(`${origin}/dev/log`)).json()).filter((entry) => entry.what === what);
const LOOKS = [
  ['desktop-light', { width: 1280, height: 800 }],
  ['desktop-dark', { width: 1280, height: 800, dark: true }],
  ['phone-light', { width: 390, height: 844, mobile: true }],
  ['phone-dark', { width: 390, height: 844, mobile: true, dark: true }],
];
const LIVE = {
  name: 'demo',
  state: 'live',
  since: new Date(Date.now() - 754_000).toISOString(),
  video: { codec: 'VP8', width: 1280, height: 720, fps: 30.0, bitrate_bps: 1_512_000 },
  audio: { codec: 'opus', channels: 2, sample_rate: 48000, bitrate_bps: 64_000 },
  output: { video: 'transcode', width: 1280, height: 720 },
  hls: '/hls/demo/index.m3u8',
  viewers: { webrtc: 12, hls: 30 },
};
const WAITING = {
  ...LIVE,
  name: 'town-hall.2026',
  state: 'waiting',
  since: new Date(Date.now() - 8e6).toISOString(),
};
const SOUND = {
  ...LIVE,
  name: 'radio',
  video: null,
  output: { video: null, width: null, height: null },
  since: new Date().toISOString(),
};

/** Opens a page in every look, and takes its picture when `ready` holds. */
async function pictures(name, address, ready, prepare = '') {
  for (const [look, options] of LOOKS) {
    const tab = await browser.open(`${origin}${address}`, options);
    await tab.until(ready, 30);
    if (prepare !== '') await tab.run(prepare);
    await tab.screenshot(path.join(shots, `${name}-${look}.png`));
    const wide = await tab.run('document.documentElement.scrollWidth - document.documentElement.clientWidth');
    assert.equal(wide, 0, `${name} ${look} scrolls sideways by ${wide}`);
    assert.deepEqual(tab.complaints, []);
    await tab.close();
  }
}

const click = (id) => `document.getElementById(${JSON.stringify(id)}).click()`;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const scenarios = {
  ...whepScenarios({ browser, origin, post, log, answerer, pictures, shots, LIVE, SOUND }),
  ...pastScenarios({ browser, origin, post, shots, pictures, LIVE }),

  async 'home empty and with streams'() {
    await post('streams', []);
    await pictures('home-empty', '/', '!document.getElementById("empty").hidden');
    await post('streams', [LIVE, WAITING, SOUND]);
    await pictures('home', '/', 'document.querySelectorAll(".stream").length === 3');
    const tab = await browser.open(`${origin}/`);
    await tab.until('document.querySelectorAll(".stream").length === 3');
    await tab.run('document.querySelector(".stream a").focus()');
    await post('streams', [LIVE, SOUND, { ...LIVE, name: 'aaa' }]);
    await tab.until('document.querySelector(".stream h2").textContent === "aaa"');
    assert.equal(await tab.run('document.activeElement.getAttribute("aria-label")'), 'Watch demo');
    await tab.run(
      'document.getElementById("name").value = "no spaces"; document.querySelector("#start button").click()',
    );
    assert.match(await tab.run('document.getElementById("name-help").textContent'), /no spaces/);
    await tab.run(
      'document.getElementById("name").value = "my.show~1"; document.querySelector("#start button").click()',
    );
    await tab.until('location.pathname === "/publish/my.show~1"');
    await tab.close();
    await post('streams', []);
  },

  async 'home by events, and by polling without them'() {
    const shown = (names) =>
      `[...document.querySelectorAll(".stream h2")].map((one) => one.textContent).join() === "${names}"`;
    const tab = await browser.open(`${origin}/`);
    await tab.until('!document.getElementById("empty").hidden');
    await post('streams', [{ ...LIVE, viewers: { webrtc: 3, hls: 1 } }]);
    // Well below the interval of polling.
    await tab.until(shown('demo'), 1.5);
    assert.match(await tab.run('document.querySelector(".facts").textContent'), /3 by WebRTC · 1 by HLS/);
    await post('events/off');
    await post('streams', [LIVE, { ...LIVE, name: 'more' }]);
    await tab.until(shown('demo,more'), 10);
    await post('streams', []);
    await tab.until('!document.getElementById("empty").hidden', 10);
    assert.equal(await tab.run('document.getElementById("trouble").hidden'), true);
    await post('events/on');
    await tab.close();
  },

  async 'publish idle'() {
    await pictures('publish-idle', '/publish/demo', '!document.getElementById("preview").paused');
  },

  async 'publish test picture in every codec'() {
    for (const codec of ['auto', 'vp8', 'vp9', 'h264', 'av1']) {
      const tab = await browser.open(
        `${origin}/publish/demo?source=canvas&video=${codec}&resolution=360p&fps=25&autostart=1`,
      );
      await tab.state('live');
      const id = (await tab.run('document.body.dataset.session')).split('/').pop();
      await tab.until('window.skywave.stats()?.bitrateBps > 20000');
      const wanted = { auto: /./, vp8: /VP8/, vp9: /VP9/, h264: /H264/, av1: /AV1/ }[codec];
      assert.match(await tab.run('window.skywave.stats().videoCodec'), wanted);
      await answerer.until(`inbound("${id}").then((s) => s.video.frames > 10 && s.audio.energy > 0)`);
      const { sdp } = (await log('offer')).at(-1);
      assert.match(sdp, /a=fmtp:\d+ .*stereo=1;sprop-stereo=1/);
      await tab.run(click('go'));
      await tab.state('stopped');
      await pause(200);
      assert.equal((await log('delete')).at(-1).id, id);
      assert.deepEqual(tab.complaints, []);
      await tab.close();
    }
  },

  async 'publish camera, live pictures'() {
    await pictures(
      'publish-live',
      '/publish/demo?autostart=1&resolution=480p',
      'document.body.dataset.state === "live" && window.skywave.stats()?.roundTripSeconds != null && window.skywave.stats()?.bitrateBps > 1e5',
    );
  },

  async 'publish: sound only, picture only, mute'() {
    const sound = await browser.open(`${origin}/publish/demo?video=off&autostart=1`);
    await sound.state('live');
    let id = (await sound.run('document.body.dataset.session')).split('/').pop();
    await answerer.until(`inbound("${id}").then((s) => s.audio.packets > 20 && s.video === undefined)`);
    await sound.screenshot(path.join(shots, 'publish-sound-only.png'));
    await sound.run(click('mute'));
    assert.equal(await sound.run('document.getElementById("mute").getAttribute("aria-pressed")'), 'true');
    await sound.close();
    const picture = await browser.open(
      `${origin}/publish/demo?audio=off&source=canvas&autostart=1&resolution=360p`,
    );
    await picture.state('live');
    id = (await picture.run('document.body.dataset.session')).split('/').pop();
    await answerer.until(`inbound("${id}").then((s) => s.video.frames > 5 && s.audio === undefined)`);
    await picture.close();
    const nothing = await browser.open(`${origin}/publish/demo?audio=off&video=off&autostart=1`);
    await nothing.until('document.body.dataset.errorCode === "nothing-to-send"');
    await nothing.close();
  },

  async 'publish: the server ends the session, the page comes back'() {
    const tab = await browser.open(`${origin}/publish/back?source=canvas&resolution=360p&autostart=1`);
    await tab.state('live');
    const first = await tab.run('document.body.dataset.session');
    const began = Date.now();
    await answerer.run('endAll()');
    await tab.until(
      `document.body.dataset.state === "live" && document.body.dataset.session !== "${first}"`,
      30,
    );
    console.log(`    back after ${Date.now() - began} ms`);
    // Somebody else takes the name: the page must not fight for it.
    await post('streams', [{ ...LIVE, name: 'back' }]);
    await answerer.run('endAll()');
    await tab.until('document.body.dataset.errorCode === "taken-over"', 30);
    await tab.screenshot(path.join(shots, 'publish-taken-over.png'));
    await post('streams', []);
    await tab.run(click('go'));
    await tab.state('live');
    await tab.goto('about:blank');
    await pause(500);
    assert.equal((await log('delete')).at(-1).stream, 'back');
    await tab.close();
  },

  async 'publish: refusals in words'() {
    await post('whip', {
      mode: 'refuse',
      status: 422,
      title: 'No codec in common',
      detail: 'The offer has none of VP8, VP9, H.264, AV1 and Opus.',
    });
    const tab = await browser.open(
      `${origin}/publish/demo?source=canvas&resolution=360p&autostart=1`,
      LOOKS[2][1],
    );
    await tab.until('document.body.dataset.errorCode === "server-refused"');
    assert.match(
      await tab.run('document.getElementById("failure").textContent'),
      /No codec in common.*none of VP8/s,
    );
    await tab.screenshot(path.join(shots, 'publish-refused-phone.png'));
    await post('whip', {
      mode: 'refuse',
      status: 503,
      title: 'Too busy',
      detail: '',
      headers: { 'Retry-After': '1' },
    });
    await tab.run(click('go'));
    await tab.state('reconnecting');
    await post('whip', { mode: 'answer' });
    await tab.state('live', 20);
    await tab.close();
    await post('whip', { mode: 'blackhole' });
    const hole = await browser.open(`${origin}/publish/demo?source=canvas&resolution=360p&autostart=1`);
    await hole.until('document.body.dataset.errorCode === "ice-failed"', 60);
    await hole.state('failed', 60);
    await hole.screenshot(path.join(shots, 'publish-ice-failed.png'));
    await hole.close();
    await post('whip', { mode: 'answer' });
    const unknown = await browser.open(`${origin}/publish/demo?video=h265&fps=1000`);
    assert.match(await unknown.run('document.getElementById("notice").textContent'), /video=h265, fps=1000/);
    await unknown.close();
  },

  async 'publish: an insecure page says so, and the test picture still works'() {
    const lan = origin.replace('127.0.0.1', 'lan.test');
    const tab = await browser.open(`${lan}/publish/demo?autostart=1`);
    await tab.until('document.body.dataset.errorCode === "insecure-page"');
    await tab.run('document.querySelector("input[value=canvas]").click()');
    await tab.until('!document.getElementById("preview").paused');
    await tab.run(click('go'));
    await tab.state('live');
    await tab.run(click('copy-hls'));
    await tab.until('document.getElementById("copy-hls").textContent === "Copied"');
    assert.deepEqual(tab.complaints, []);
    await tab.close();
  },

  async 'publish: devices refused and missing'() {
    // No fake device and nobody to answer the question: as on a server without a camera.
    const bare = await launch([], { fakeDevices: false });
    try {
      const missing = await bare.open(`${origin}/publish/demo?autostart=1`);
      await missing.until('document.body.dataset.errorCode === "device-missing"');
      await missing.close();
    } finally {
      await bare.close();
    }
    const strict = await launch(['--deny-permission-prompts']);
    try {
      const refused = await strict.open(`${origin}/publish/demo?autostart=1`, LOOKS[2][1]);
      await refused.until('document.body.dataset.errorCode === "device-refused"');
      await refused.screenshot(path.join(shots, 'publish-device-refused.png'));
      await refused.close();
    } finally {
      await strict.close();
    }
  },

  async 'watch: sound blocked until a touch'() {
    const strict = await launch(['--autoplay-policy=document-user-activation-required']);
    try {
      await post('streams', [LIVE]);
      await post('hls/demo/start');
      const tab = await strict.open(`${origin}/watch/demo?player=hls.js`);
      await tab.state('playing', 40);
      await tab.screenshot(path.join(shots, 'watch-unmute.png'), false);
      await tab.until('document.getElementById("video").muted && !document.getElementById("unmute").hidden');
      await tab.run(click('unmute'));
      await pause(500);
      assert.equal(await tab.run('document.getElementById("video").muted'), false);
      assert.equal(await tab.run('document.getElementById("unmute").hidden'), true);
      await tab.state('playing');
    } finally {
      await strict.close();
      await post('hls/demo/stop');
      await post('streams', []);
    }
  },

  async 'watch reads the clock in the test picture'() {
    const tab = await browser.open(`${origin}/watch/clock?autoplay=0`);
    await tab.run(`new Promise((resolve) => {
      const frame = document.createElement('iframe');
      frame.src = '/publish/clock?source=canvas&resolution=360p';
      frame.onload = resolve;
      document.body.append(frame);
    })`);
    await tab.run(`(async () => {
      const inner = document.querySelector('iframe').contentDocument;
      while (!inner.getElementById('preview').srcObject) await new Promise((resolve) => setTimeout(resolve, 50));
      video.srcObject = inner.getElementById('preview').srcObject;
      video.muted = true;
      await video.play();
    })()`);
    await tab.until('window.skywave.pictureDelayMs() !== null');
    const delays = await tab.run(`(async () => {
      const delays = [];
      for (let i = 0; i < 20; i++) {
        await new Promise((resolve) => setTimeout(resolve, 40));
        delays.push(window.skywave.pictureDelayMs());
      }
      return delays;
    })()`);
    console.log(`    delays ${delays.join(' ')} ms`);
    assert.ok(delays.filter((delay) => delay !== null && delay >= 0 && delay < 1000).length >= 18);
    await tab.close();
  },

  async 'watch offline, then on air, then gone, then back'() {
    await pictures('watch-offline', '/watch/nobody', 'document.body.dataset.state === "offline"');
    const tab = await browser.open(`${origin}/watch/demo?autoplay=1&muted=1&player=hls.js`);
    await tab.state('offline');
    await post('hls/demo/start');
    await tab.state('playing', 40);
    await tab.until('window.skywave.latencySeconds() > 0');
    await tab.until('window.skywave.stats().totalFrames > 50');
    await tab.screenshot(path.join(shots, 'watch-playing.png'));
    await post('hls/demo/stop');
    await tab.state('offline', 60);
    await tab.screenshot(path.join(shots, 'watch-gone.png'));
    await post('streams', [LIVE]);
    await post('hls/demo/start');
    await tab.state('playing', 40);
    await post('hls/demo/stop/ended');
    await post('streams', []);
    await tab.state('offline', 60);
    await post('streams', [LIVE]);
    await post('hls/demo/start');
    await tab.state('playing', 40);
    assert.equal(await tab.run('window.skywave.hls !== null'), true);
    // Faults inside of the player must not be seen for long.
    for (const [type, details] of [
      ['mediaError', 'bufferAppendError'],
      ['mediaError', 'bufferAppendError'],
      ['networkError', 'fragLoadTimeOut'],
      ['otherError', 'internalException'],
    ]) {
      await tab.run(
        `window.skywave.hls.trigger('hlsError', { type: '${type}', details: '${details}', fatal: true })`,
      );
      const frames = await tab.run('window.mark = video.currentTime');
      await tab.until(
        `document.body.dataset.state === "playing" && !video.paused && Math.abs(video.currentTime - ${frames}) > 0.7`,
        30,
      );
    }
    await tab.run('video.pause()');
    await tab.until('document.getElementById("play").getAttribute("aria-label") === "Play"');
    await tab.run(click('play'));
    await tab.until('!video.paused');
    await tab.run(click('play'));
    await tab.state('idle');
    await tab.run(click('big-play'));
    await tab.state('playing', 40);
    assert.deepEqual(tab.complaints, []);
    await tab.close();
  },

  async 'watch pictures while playing'() {
    await post('streams', [LIVE]);
    await post('hls/demo/start');
    await pause(5000);
    await pictures(
      'watch',
      '/watch/demo?player=hls.js',
      'document.body.dataset.state === "playing" && window.skywave.stats().totalFrames > 30',
    );
    await pictures('watch-idle', '/watch/demo?autoplay=0', 'document.body.dataset.state === "idle"');
    const native = await browser.open(`${origin}/watch/demo?player=native-hls&muted=1`);
    await native.state('playing', 40);
    console.log('    native:', await native.run('JSON.stringify(window.skywave.stats())'));
    await native.close();
    const frozen = await browser.open(`${origin}/watch/demo?muted=1&player=hls.js`);
    await frozen.state('playing', 40);
    await post('streams', [{ ...LIVE, state: 'waiting' }]);
    await post('hls/demo/stop/frozen');
    await frozen.state('stalled', 40);
    await frozen.until('document.getElementById("badge").textContent === "Waiting for the publisher"');
    await frozen.screenshot(path.join(shots, 'watch-stalled.png'));
    await post('streams', [LIVE]);
    await post('hls/demo/start');
    await frozen.state('playing', 60);
    await frozen.close();
  },
};

let failures = 0;
try {
  for (const [name, scenario] of Object.entries(scenarios)) {
    if (!name.includes(only)) continue;
    const began = Date.now();
    await post('reset', null);
    try {
      await scenario();
      console.log(`ok   ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
    } catch (error) {
      failures++;
      console.log(`FAIL ${name}: ${error.stack}`);
    }
  }
} finally {
  await browser.close();
  await stop();
}
console.log(`pictures in ${shots}`);
process.exitCode = failures === 0 ? 0 : 1;
