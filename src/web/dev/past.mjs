/** Scenarios of `drive.mjs`: going back in a broadcast. The stand-in keeps segments of 2 s for 16 s, without parts. */
import assert from 'node:assert/strict';
import path from 'node:path';

const PLAYING = 'document.body.dataset.state === "playing"';
const PAST = `${PLAYING} && document.body.dataset.when === "past"`;
const LIVE_AGAIN = `${PLAYING} && document.body.dataset.when === "live"`;
const by = (name) => `window.skywave.stats().path === ${JSON.stringify(name)}`;
const click = (id) => `document.getElementById(${JSON.stringify(id)}).click()`;
const slider = (name) => `document.getElementById("timeline").getAttribute("aria-${name}")`;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export function pastScenarios({ browser, origin, post, shots, pictures, LIVE }) {
  const key = async (tab, name) => {
    for (const type of ['keyDown', 'keyUp'])
      await tab.call('Input.dispatchKeyEvent', { type, key: name, code: name });
  };
  const focus = (tab) => tab.run('document.getElementById("timeline").focus()');
  const press = async (tab, fraction) => {
    const [x, y] = await tab.run(
      `(() => { const r = document.getElementById("timeline").getBoundingClientRect(); return [r.left + r.width * ${fraction}, r.top + r.height / 2]; })()`,
    );
    const at = { x, y, button: 'left', clickCount: 1 };
    await tab.call('Input.dispatchMouseEvent', { ...at, type: 'mouseMoved', button: 'none' });
    await tab.call('Input.dispatchMouseEvent', { ...at, type: 'mousePressed' });
    await tab.call('Input.dispatchMouseEvent', { ...at, type: 'mouseReleased' });
  };
  const onAir = async () => {
    await post('streams', [LIVE]);
    await post('hls/demo/start');
    await pause(18_000);
  };
  const behind = (tab) => tab.run('window.skywave.timeline().behindSeconds');

  return {
    async 'past: WebRTC changes over to HLS and back'() {
      await onAir();
      const publisher = await browser.open(
        `${origin}/publish/demo?source=canvas&video=vp8&resolution=360p&fps=25&autostart=1`,
      );
      await publisher.state('live');
      const tab = await browser.open(`${origin}/watch/demo?muted=1`);
      await tab.until(`${LIVE_AGAIN} && ${by('whep')}`);
      await tab.run('window.samePage = true');
      assert.equal(
        await tab.run('window.skywave.timeline().depthSeconds'),
        null,
        'nobody asks for playlists',
      );
      await focus(tab);
      await tab.until(`${slider('valuemin')} < -10`);
      await key(tab, 'ArrowLeft');
      await tab.until(`${PAST} && ${by('hls.js')}`, 20);
      const late = (Date.now() - (await tab.run('window.skywave.hls.playingDate.getTime()'))) / 1000;
      console.log(
        `    ${late.toFixed(1)} s after it was sent, ${(await behind(tab)).toFixed(1)} s behind the edge`,
      );
      assert.ok(late > 9 && late < 16, String(late));
      assert.match(await tab.run(slider('valuetext')), /^\d+ seconds behind live$/);
      assert.match(await tab.run('document.getElementById("where").textContent'), /^-0:\d\d$/);
      await tab.screenshot(path.join(shots, 'past.png'));
      const before = await behind(tab);
      await pause(8_000);
      assert.ok(Math.abs((await behind(tab)) - before) < 1.2, 'nothing pulls to the live edge');
      assert.equal(await tab.run('document.getElementById("video").playbackRate'), 1);
      await tab.run(click('play'));
      await tab.state('idle');
      await pause(1_000);
      await tab.run(click('play'));
      await tab.until(`${PAST} && ${by('hls.js')}`, 20);
      await tab.run(click('live'));
      await tab.until(`${LIVE_AGAIN} && ${by('whep')}`, 20);
      assert.equal(await tab.run('document.getElementById("where").textContent'), 'LIVE');
      assert.equal(await tab.run('window.samePage'), true);
      assert.deepEqual(tab.complaints, []);
      await tab.close();
      await publisher.close();
    },

    async 'past: HLS by pointer, keys and the button, and out of the window'() {
      await onAir();
      const tab = await browser.open(`${origin}/watch/demo?muted=1&player=hls.js`);
      await tab.until(`${LIVE_AGAIN} && window.skywave.timeline().depthSeconds > 12`, 30);
      await press(tab, 0.2);
      await tab.until(PAST);
      const aimed = await behind(tab);
      console.log(`    pressed at a fifth: ${aimed.toFixed(1)} s behind`);
      assert.ok(aimed > 10 && aimed < 15.5, String(aimed));
      await focus(tab);
      await key(tab, 'End');
      await tab.until(LIVE_AGAIN);
      await tab.run(click('back'));
      await tab.until(PAST);
      // Paused by other means than the page's, until what it shows has left the window.
      await tab.run('document.getElementById("video").pause()');
      await pause(9_000);
      await tab.run('document.getElementById("video").play()');
      await tab.until(`${PAST} && window.skywave.timeline().behindSeconds < 17`, 20);
      const begin = await behind(tab);
      console.log(`    after falling out: ${begin.toFixed(1)} s behind`);
      assert.ok(begin > 8, String(begin));
      // A jump that the page was not asked for.
      await tab.run(click('live'));
      await tab.until(LIVE_AGAIN);
      await pause(1_500);
      await tab.run('document.getElementById("video").currentTime -= 6');
      await tab.until(PAST);
      await tab.run('window.skywave.goTo(0)');
      await tab.until(LIVE_AGAIN);
      assert.deepEqual(tab.complaints, []);
      await tab.close();
    },

    async 'past: by hls.js where the browser itself plays live'() {
      await onAir();
      const tab = await browser.open(`${origin}/watch/demo?muted=1&player=native-hls`);
      // Chromium's own HLS has nothing that is seekable while it is live.
      await tab.until(`${LIVE_AGAIN} && ${by('native-hls')}`, 40);
      await focus(tab);
      await key(tab, 'ArrowLeft');
      await tab.until(`${PAST} && ${by('hls.js')}`, 20);
      await tab.run(click('live'));
      await tab.until(`${LIVE_AGAIN} && ${by('native-hls')}`, 40);
      await tab.close();
    },

    async 'past: pictures'() {
      await onAir();
      const ready = `${PLAYING} && window.skywave.stats().totalFrames > 30 && window.skywave.timeline().depthSeconds > 12`;
      await pictures(
        'watch-past',
        '/watch/demo?player=hls.js&muted=1',
        ready,
        `window.skywave.goTo(10).then(() => new Promise((done) => setTimeout(done, 1500)))`,
      );
    },
  };
}
