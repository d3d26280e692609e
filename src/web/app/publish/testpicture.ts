/** A picture and a sound that need no device: a moving pattern with a clock, a flash and a beep on every full second. */

import { encodeClock, STRIP_HEIGHT } from '../pure/clockcode.ts';
import { type Geometry, geometry, type Resolution } from '../pure/settings.ts';

/** Put in by the build: the address of `ticker.ts`. */
declare const TICKER_URL: string;

const BARS = ['#f5f5f5', '#e8d44d', '#3fc1c9', '#53c26b', '#b65fcf', '#e4572e', '#2f6fde'];
/** Flash and beep last this long, so that a measurement finds their beginning in any frame rate. */
const BEEP_MS = 100;
const TONE_HZ = 1000;

export interface TestPicture {
  track: MediaStreamTrack;
  stop(): void;
}

export function testPicture(resolution: Resolution, fps: number, stream: string): TestPicture {
  const canvas = document.createElement('canvas');
  const { width, height } = geometry(resolution);
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext('2d', { alpha: false });
  if (context === null) throw new Error('This browser has no 2D canvas.');
  const background = paintBackground(width, height, `${stream} · ${width} × ${height} · ${fps} fps`);
  // Without a rate, every change of the canvas is a frame: the ticker alone sets the pace.
  const [track] = canvas.captureStream().getVideoTracks();
  if (track === undefined) throw new Error('This browser cannot capture a canvas.');
  const ticker = new Worker(TICKER_URL);
  ticker.onmessage = () => paint(context, background, { width, height }, Date.now());
  ticker.postMessage(fps);
  paint(context, background, { width, height }, Date.now());
  return {
    track,
    stop() {
      ticker.terminate();
      track.stop();
    },
  };
}

/** Everything that does not move, painted once. */
function paintBackground(width: number, height: number, label: string): HTMLCanvasElement {
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext('2d', { alpha: false });
  if (context === null) throw new Error('This browser has no 2D canvas.');
  const sky = context.createLinearGradient(0, 0, 0, height);
  sky.addColorStop(0, '#0b1630');
  sky.addColorStop(1, '#1d3b63');
  context.fillStyle = sky;
  context.fillRect(0, 0, width, height);
  const bar = width / BARS.length;
  BARS.forEach((colour, i) => {
    context.fillStyle = colour;
    context.fillRect(Math.floor(i * bar), 0, Math.ceil(bar), Math.round(height * 0.16));
  });
  context.fillStyle = '#c9d8ee';
  context.textAlign = 'center';
  context.font = `500 ${Math.round(height * 0.045)}px system-ui, sans-serif`;
  context.fillText(label, width / 2, height * 0.66);
  return canvas;
}

function paint(
  context: CanvasRenderingContext2D,
  background: HTMLCanvasElement,
  { width, height }: Geometry,
  nowMs: number,
): void {
  context.drawImage(background, 0, 0);
  paintMotion(context, width, height, nowMs);
  const now = new Date(nowMs);
  const pad = (value: number, digits: number): string => String(value).padStart(digits, '0');
  const time = `${pad(now.getHours(), 2)}:${pad(now.getMinutes(), 2)}:${pad(now.getSeconds(), 2)}.${pad(now.getMilliseconds(), 3)}`;
  context.fillStyle = '#ffffff';
  context.textAlign = 'center';
  context.font = `600 ${Math.round(height * 0.17)}px ui-monospace, Menlo, Consolas, monospace`;
  context.fillText(time, width / 2, height * 0.55);
  paintStrip(context, width, height, nowMs);
}

/** A disc that swings (motion for the encoder) and a flash (the partner of the beep). */
function paintMotion(context: CanvasRenderingContext2D, width: number, height: number, nowMs: number): void {
  const phase = (nowMs % 4000) / 4000;
  const x = width * (0.5 + 0.42 * Math.sin(2 * Math.PI * phase));
  const y = height * 0.79;
  context.fillStyle = '#2ec4b6';
  context.beginPath();
  context.arc(x, y, height * 0.06, 0, 2 * Math.PI);
  context.fill();
  context.strokeStyle = '#ff6b5e';
  context.lineWidth = Math.max(2, height / 120);
  context.beginPath();
  context.arc(
    width / 2,
    y,
    height * 0.085,
    -Math.PI / 2,
    -Math.PI / 2 + ((nowMs % 1000) / 1000) * 2 * Math.PI,
  );
  context.stroke();
  if (nowMs % 1000 < BEEP_MS) {
    context.fillStyle = '#ffffff';
    context.fillRect(width * 0.04, height * 0.22, width * 0.12, height * 0.12);
    context.fillRect(width * 0.84, height * 0.22, width * 0.12, height * 0.12);
  }
}

/** The clock for machines: see `pure/clockcode.ts`. */
function paintStrip(context: CanvasRenderingContext2D, width: number, height: number, nowMs: number): void {
  const cells = encodeClock(nowMs);
  const top = Math.round(height * (1 - STRIP_HEIGHT));
  context.fillStyle = '#000000';
  context.fillRect(0, top, width, height - top);
  context.fillStyle = '#ffffff';
  cells.forEach((cell, i) => {
    if (cell === 0) return;
    const left = Math.round((i * width) / cells.length);
    context.fillRect(left, top, Math.round(((i + 1) * width) / cells.length) - left, height - top);
  });
}

export interface TestTone {
  track: MediaStreamTrack;
  stop(): void;
}

/** Beeps at 1 kHz on every full second of the wall clock (or without a pause when `steady`), in both channels. */
export function testTone(audio: AudioContext, steady: boolean): TestTone {
  const destination = new MediaStreamAudioDestinationNode(audio, { channelCount: 2 });
  const gain = new GainNode(audio, { gain: steady ? 0.25 : 0 });
  const tone = new OscillatorNode(audio, { frequency: TONE_HZ });
  tone.connect(gain).connect(destination);
  tone.start();
  const schedule = (): void => {
    const nowMs = Date.now();
    const start = audio.currentTime + (1000 - (nowMs % 1000)) / 1000;
    gain.gain.setValueAtTime(0, start);
    gain.gain.linearRampToValueAtTime(0.5, start + 0.002);
    gain.gain.setValueAtTime(0.5, start + BEEP_MS / 1000 - 0.002);
    gain.gain.linearRampToValueAtTime(0, start + BEEP_MS / 1000);
  };
  let ticker: Worker | null = null;
  if (!steady) {
    ticker = new Worker(TICKER_URL);
    let scheduled = 0;
    ticker.onmessage = () => {
      // Once a second, half a second ahead.
      const second = Math.floor(Date.now() / 1000 + 0.5);
      if (second === scheduled || audio.state !== 'running') return;
      scheduled = second;
      schedule();
    };
    ticker.postMessage(10);
  }
  const [track] = destination.stream.getAudioTracks();
  if (track === undefined) throw new Error('This browser cannot capture sound from the page.');
  return {
    track,
    stop() {
      ticker?.terminate();
      tone.stop();
      track.stop();
    },
  };
}
