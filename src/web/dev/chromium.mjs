/** Chromium by its debugging pipe: the little of the DevTools protocol that the checks need, without a library. */
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

export async function launch(extra = [], { fakeDevices = true } = {}) {
  const profile = await mkdtemp(path.join(tmpdir(), 'skywave-dev-chromium-'));
  const args = [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-sync',
  ]
    .concat(['--disable-background-networking', '--disable-component-update', '--remote-debugging-pipe'])
    .concat(fakeDevices ? ['--use-fake-device-for-media-stream'] : ['--use-fake-ui-for-media-stream'])
    .concat(['--disable-features=WebRtcHideLocalIpsWithMdns'])
    .concat([`--user-data-dir=${profile}`, ...extra, 'about:blank']);
  const child = spawn('chromium', args, { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
  const [, , , input, output] = child.stdio;
  const waiting = new Map();
  const listeners = new Map();
  let nextId = 1;
  let rest = '';
  output.setEncoding('utf8');
  output.on('data', (chunk) => {
    const messages = (rest + chunk).split('\0');
    rest = messages.pop();
    for (const text of messages) {
      const message = JSON.parse(text);
      if (message.id !== undefined) {
        const { resolve, reject } = waiting.get(message.id);
        waiting.delete(message.id);
        if (message.error) reject(new Error(message.error.message));
        else resolve(message.result);
      } else {
        listeners.get(message.sessionId)?.(message);
      }
    }
  });
  const send = (method, params = {}, sessionId = undefined) =>
    new Promise((resolve, reject) => {
      const id = nextId++;
      waiting.set(id, { resolve, reject });
      input.write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    });
  const closed = new Promise((resolve) => child.once('exit', resolve));
  return {
    send,
    open: (url, look) => openTab(send, listeners, url, look),
    async close() {
      await send('Browser.close').catch(() => {});
      const timer = setTimeout(() => child.kill('SIGKILL'), 5000);
      await closed;
      clearTimeout(timer);
      await rm(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** @param look `{ width, height, dark, mobile }` */
async function openTab(
  send,
  listeners,
  url,
  { width = 1280, height = 800, dark = false, mobile = false } = {},
) {
  const { targetId } = await send('Target.createTarget', { url: 'about:blank' });
  const { sessionId } = await send('Target.attachToTarget', { targetId, flatten: true });
  const call = (method, params) => send(method, params, sessionId);
  const complaints = [];
  listeners.set(sessionId, ({ method, params }) => {
    if (method === 'Runtime.exceptionThrown') {
      complaints.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
    } else if (
      method === 'Log.entryAdded' &&
      params.entry.level === 'error' &&
      params.entry.source !== 'network'
    ) {
      complaints.push(params.entry.text);
    }
  });
  await call('Page.enable');
  await call('Runtime.enable');
  await call('Log.enable');
  await call('Emulation.setDeviceMetricsOverride', {
    width,
    height,
    deviceScaleFactor: mobile ? 2 : 1,
    mobile,
  });
  await call('Emulation.setEmulatedMedia', {
    features: [{ name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }],
  });
  const tab = {
    complaints,
    call,
    async goto(address) {
      await call('Page.navigate', { url: address });
      await tab.until('document.readyState === "complete"');
    },
    /** Evaluates an expression (awaited), as if a person had just touched the page unless told otherwise. */
    async run(expression, userGesture = true) {
      const { result, exceptionDetails } = await call('Runtime.evaluate', {
        expression,
        awaitPromise: true,
        returnByValue: true,
        userGesture,
      });
      if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
      return result.value;
    },
    /** Waits until an expression is true. */
    async until(expression, seconds = 15) {
      const end = Date.now() + seconds * 1000;
      for (;;) {
        const value = await tab.run(expression, false).catch(() => false);
        if (value) return value;
        if (Date.now() > end) {
          const body = await tab.run('JSON.stringify(document.body.dataset)').catch(String);
          throw new Error(`not within ${seconds} s: ${expression}; body: ${body}`);
        }
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    },
    state: (state, seconds) => tab.until(`document.body.dataset.state === ${JSON.stringify(state)}`, seconds),
    async screenshot(file, fullPage = true) {
      const { cssContentSize } = await call('Page.getLayoutMetrics');
      const clip = { x: 0, y: 0, width, height: Math.max(height, cssContentSize.height), scale: 1 };
      const { data } = await call(
        'Page.captureScreenshot',
        fullPage ? { clip, captureBeyondViewport: true } : {},
      );
      await writeFile(file, Buffer.from(data, 'base64'));
    },
    async close() {
      await send('Target.closeTarget', { targetId });
    },
  };
  await tab.goto(url);
  return tab;
}
