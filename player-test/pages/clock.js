// The clock in the test picture, by the contract of Skywave's pages: over the full width of the lowest fifteenth of the picture
// stand 48 cells, white for 1: 1 0 1 0, then 36 bits of milliseconds since the epoch modulo 2^36, then 8 bits of checksum (0x5a
// plus the five bytes of the time, lowest first, times 1, 3, 5, 7, 9).
const CELLS = 48, STRIP = 1 / 15, MODULUS = 2 ** 36, SCALE = 8;
const canvas = Object.assign(document.createElement("canvas"), { width: CELLS * SCALE, height: SCALE });
const context = canvas.getContext("2d", { willReadFrequently: true });

function drawnMs(element) {
  const { videoWidth: width, videoHeight: height } = element;
  if (!width) return null;
  context.drawImage(element, 0, height * (1 - STRIP), width, height * STRIP, 0, 0, canvas.width, SCALE);
  const { data } = context.getImageData(0, 0, canvas.width, SCALE);
  const light = Array.from({ length: CELLS }, (_, cell) => {
    const at = 4 * ((SCALE / 2) * canvas.width + cell * SCALE + SCALE / 2);
    return data[at] + data[at + 1] + data[at + 2];
  });
  const white = (light[0] + light[2]) / 2, black = (light[1] + light[3]) / 2;
  if (white - black < 120) return null;
  const number = (from, count) => light.slice(from, from + count).reduce((sum, one) => sum * 2 + (one > (white + black) / 2), 0);
  const time = number(4, 36);
  let sum = 0x5a;
  for (let byte = 0; byte < 5; byte += 1) sum += Math.floor(time / 256 ** byte) % 256 * (2 * byte + 1);
  return sum % 256 === number(40, 8) ? time : null;
}

// Milliseconds from drawing to showing of `count` pictures whose clock could be read.
const pictureDelays = (element, count, limitMs) => new Promise((resolve, reject) => {
  const delays = [];
  const timer = setTimeout(() => reject(new Error(`${delays.length} of ${count} clocks read in ${limitMs} ms`)), limitMs);
  const look = () => {
    const now = Date.now() % MODULUS, drawn = drawnMs(element);
    if (drawn !== null) delays.push((now - drawn + MODULUS) % MODULUS);
    if (delays.length < count) return void element.requestVideoFrameCallback(look);
    clearTimeout(timer);
    resolve(delays);
  };
  element.requestVideoFrameCallback(look);
});

// What was shown for `lengthMs`: delays of the pictures whose clock could be read, and the longest time without a new picture.
const watchPictures = (element, lengthMs) => new Promise((resolve) => {
  const delays = [], end = performance.now() + lengthMs;
  let pictures = 0, longestPauseMs = 0, last = performance.now(), stopped = false;
  const finish = () => {
    stopped = true;
    longestPauseMs = Math.max(longestPauseMs, performance.now() - last);
    resolve({ delays, pictures, longestPauseMs });
  };
  const timer = setTimeout(finish, lengthMs + 200);
  const look = (at) => {
    if (stopped) return;
    const now = Date.now() % MODULUS, drawn = drawnMs(element);
    if (drawn !== null) delays.push((now - drawn + MODULUS) % MODULUS);
    pictures += 1;
    longestPauseMs = Math.max(longestPauseMs, at - last);
    last = at;
    if (at < end) return void element.requestVideoFrameCallback(look);
    clearTimeout(timer);
    finish();
  };
  element.requestVideoFrameCallback(look);
});
