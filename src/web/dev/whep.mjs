/** Scenarios of `drive.mjs`: watching by WHEP, with a publisher in another tab. */
import assert from 'node:assert/strict';
import path from 'node:path';

const PLAYING = 'document.body.dataset.state === "playing"';
const click = (id) => `document.getElementById(${JSON.stringify(id)}).click()`;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export function whepScenarios({ browser, origin, post, log, pictures, shots, LIVE, SOUND }) {
  const publish = async (stream, video = 'vp8') => {
    const tab = await browser.open(
      `${origin}/publish/${stream}?source=canvas&video=${video}&resolution=360p&fps=25&autostart=1`,
    );
    await tab.state('live');
    return tab;
  };
  const offersOf = async (stream) =>
    (await log('offer')).filter((entry) => entry.kind === 'whep' && entry.stream === stream);
  const picture = (name) => path.join(shots, `${name}.png`);
  /** Frames go on being decoded from now on. */
  const advances = async (tab, seconds = 10) => {
    const frames = (await tab.run('window.skywave.stats().framesDecoded')) ?? 0;
    await tab.until(`${PLAYING} && window.skywave.stats().framesDecoded > ${frames + 10}`, seconds);
  };

  return {
    async 'whep: picture, sound, numbers'() {
      await post('streams', [LIVE]);
      const publisher = await publish('demo');
      const began = Date.now();
      const tab = await browser.open(`${origin}/watch/demo`);
      await tab.until(PLAYING);
      console.log(`    playing after ${Date.now() - began} ms`);
      await advances(tab);
      await tab.until('window.skywave.stats().totalAudioEnergy > 0');
      await tab.until(
        'window.skywave.stats().jitterBufferMs !== null && window.skywave.stats().rttMs !== null',
      );
      const stats = await tab.run('window.skywave.stats()');
      console.log('   ', JSON.stringify(stats));
      assert.equal(stats.path, 'whep');
      assert.match(stats.codec, /VP[89]|H264|AV1/);
      assert.equal(stats.transport, 'udp');
      assert.ok(stats.latencySeconds < 1, String(stats.latencySeconds));
      assert.match((await offersOf('demo')).at(-1).sdp, /a=fmtp:\d+ .*stereo=1/);
      await tab.until('window.skywave.pictureDelayMs() !== null');
      console.log('    picture delay', await tab.run('window.skywave.pictureDelayMs()'), 'ms');
      const id = (await log('patch')).at(-1)?.id;
      assert.ok(id !== undefined, 'a server that is not ICE-lite is told candidates');
      await tab.goto('about:blank');
      for (let i = 0; i < 30 && !(await log('delete')).some((entry) => entry.id === id); i++)
        await pause(100);
      assert.ok(
        (await log('delete')).some((entry) => entry.id === id),
        'leaving ends the session',
      );
      assert.deepEqual(tab.complaints, []);
      await tab.close();
      await publisher.close();
    },

    async 'whep: pictures and the menu'() {
      await post('streams', [LIVE]);
      await post('layers', {
        1: [
          { rid: 'h', bitrate: 1_500_000, width: 1280, height: 720 },
          { rid: 'l', bitrate: 250_000, width: 320, height: 180 },
        ],
      });
      const publisher = await publish('demo');
      const ready = `${PLAYING} && window.skywave.stats().framesDecoded > 60 && window.skywave.stats().jitterBufferMs !== null`;
      await pictures('watch-whep', '/watch/demo', ready);
      await pictures('watch-whep-menu', '/watch/demo', ready, click('settings'));
      const tab = await browser.open(`${origin}/watch/demo?muted=1`);
      await tab.until(`${PLAYING} && document.querySelectorAll("#layer option").length === 3`);
      const choose = (which, value) =>
        tab.run(
          `(() => { const it = document.getElementById("${which}"); it.value = "${value}"; it.dispatchEvent(new Event("change")); })()`,
        );
      await choose('layer', 'l');
      await choose('layer', 'auto');
      for (let i = 0; i < 30 && (await log('layer')).length < 2; i++) await pause(100);
      const [chosen, automatic] = await log('layer');
      assert.deepEqual(JSON.parse(chosen.body), { mediaId: '1', rid: 'l' });
      assert.equal(automatic.method, 'DELETE');
      await choose('way', 'whep');
      assert.match(await tab.run('location.search'), /player=whep/);
      await tab.until(`${PLAYING} && window.skywave.stats().path === "whep"`);
      assert.deepEqual(tab.complaints, []);
      await tab.close();
      await publisher.close();
      await post('layers', null);
    },

    async 'whep: the publisher leaves and returns'() {
      await post('streams', [LIVE]);
      const publisher = await publish('demo');
      const tab = await browser.open(`${origin}/watch/demo?muted=1`);
      await tab.until(PLAYING);
      await advances(tab);
      const offers = (await offersOf('demo')).length;
      await publisher.run(click('go'));
      await tab.state('stalled');
      await tab.until('document.getElementById("badge").textContent === "Waiting for the publisher"');
      await tab.screenshot(picture('watch-whep-waiting'));
      // Longer than a path that has stalled is believed.
      await pause(14_000);
      await publisher.run(click('go'));
      await publisher.state('live');
      await tab.until(PLAYING);
      await advances(tab);
      assert.equal((await offersOf('demo')).length, offers, 'the session has stayed');
      await post('streams', []);
      await post('end/demo');
      await tab.state('offline', 30);
      await tab.close();
      await publisher.close();
    },

    async 'whep: ICE restarts, for viewers and publishers'() {
      await post('streams', [LIVE]);
      const publisher = await publish('demo');
      const tab = await browser.open(`${origin}/watch/demo?muted=1&player=whep`);
      await tab.until(PLAYING);
      const restarts = async (kind) =>
        (await log('patch')).filter((entry) => entry.restarting && entry.kind === kind);
      const [offers, before] = [(await offersOf('demo')).length, (await restarts('whep')).length];
      for (const change of ['window.skywave.restartIce()', 'window.dispatchEvent(new Event("online"))']) {
        await tab.run(change);
        await pause(1_000);
        await advances(tab);
      }
      const fragments = (await restarts('whep')).slice(before).map((entry) => entry.fragment);
      assert.equal(fragments.length, 2);
      for (const fragment of fragments) assert.match(fragment, /a=ice-ufrag:.*a=mid:0.*a=candidate:/s);
      assert.notEqual(fragments[0].match(/ufrag:(\S+)/)[1], fragments[1].match(/ufrag:(\S+)/)[1]);
      assert.equal((await offersOf('demo')).length, offers, 'the session has stayed');
      const session = await publisher.run('document.body.dataset.session');
      await publisher.run('window.skywave.restartIce()');
      await pause(1_000);
      await advances(tab);
      assert.equal((await restarts('whip')).length, 1);
      await publisher.state('live');
      assert.equal(await publisher.run('document.body.dataset.session'), session);
      await tab.close();
      await publisher.close();
    },

    async 'whep: off air, then on air'() {
      await post('streams', []);
      const tab = await browser.open(`${origin}/watch/later?muted=1`);
      await tab.state('offline');
      const publisher = await publish('later');
      // A page that nobody looks at does not ask.
      await tab.call('Page.bringToFront');
      await post('streams', [{ ...LIVE, name: 'later' }]);
      await post('hls/later/start');
      await tab.until(`${PLAYING} && window.skywave.stats().path === "whep"`, 30);
      await post('hls/later/stop');
      await tab.close();
      await publisher.close();
    },

    async 'whep: HLS takes over where WebRTC does not work'() {
      await post('streams', [LIVE]);
      await post('hls/demo/start');
      await pause(4_000);
      for (const [mode, words] of [
        [{ mode: 'refuse', status: 503, title: 'Too busy', detail: '' }, /Too busy/],
        [{ mode: 'refuse', status: 422, title: 'No codec in common', detail: '' }, /No codec/],
        [{ mode: 'silent' }, /no picture came/],
        [{ mode: 'blackhole' }, /no media connection/],
      ]) {
        const publisher = mode.mode === 'blackhole' ? await publish('demo') : null;
        await post('whep', mode);
        const began = Date.now();
        const tab = await browser.open(`${origin}/watch/demo?muted=1`);
        await tab.until(`${PLAYING} && window.skywave.stats().path === "hls.js"`, 30);
        console.log(`    ${mode.mode} ${mode.status ?? ''}: by HLS after ${Date.now() - began} ms`);
        assert.match(await tab.run('window.skywave.stats().passedOver'), words);
        assert.match(await tab.run('document.getElementById("r-note").textContent'), words);
        if (mode.mode === 'blackhole') await tab.screenshot(picture('watch-fallback'));
        await tab.close();
        await publisher?.close();
      }
      await post('whep', { mode: 'silent' });
      const forced = await browser.open(`${origin}/watch/demo?muted=1&player=whep`);
      await forced.state('failed', 30);
      assert.match(await forced.run('document.body.dataset.error'), /no picture came/);
      await forced.close();
      await post('whep', { mode: 'answer' });
      await post('hls/demo/stop');
    },

    async 'whep: a stream with a key'() {
      await post('streams', [LIVE]);
      const refused = await browser.open(`${origin}/publish/demo?source=canvas&resolution=360p`);
      await post('keys', { whip: 'pub', whep: 'view' });
      await refused.run(click('go'));
      await refused.until('document.body.dataset.errorCode === "server-refused"');
      await refused.run('document.getElementById("key").value = "pub"');
      await refused.run(click('go'));
      await refused.state('live');
      const outside = await browser.open(`${origin}/watch/demo?muted=1&player=auto`);
      await outside.state('failed');
      await outside.screenshot(picture('watch-key'));
      await outside.run(
        'document.getElementById("token").value = "view"; document.querySelector("#key-form button").click()',
      );
      await outside.until(`location.search.includes("token=view") && ${PLAYING}`);
      assert.equal(await outside.run('window.skywave.stats().path'), 'whep');
      assert.match(await outside.run('document.getElementById("hls-url").value'), /token=view$/);
      await outside.close();
      await post('hls/demo/start');
      const hls = await browser.open(`${origin}/watch/demo?muted=1&player=hls.js&token=view`);
      await hls.until(PLAYING, 40);
      await hls.close();
      await post('hls/demo/stop');
      await post('keys', { whip: null, whep: null });
      await refused.close();
    },

    async 'whep: sound only'() {
      await post('streams', [{ ...SOUND, name: 'radio' }]);
      const publisher = await publish('radio', 'off');
      const tab = await browser.open(`${origin}/watch/radio`);
      await tab.until(`${PLAYING} && window.skywave.stats().path === "whep"`);
      await tab.until('window.skywave.stats().totalAudioEnergy > 0');
      await tab.until('!document.getElementById("sound-only").hidden');
      await tab.screenshot(picture('watch-whep-sound'));
      await tab.close();
      await publisher.close();
      await post('streams', []);
    },
  };
}
