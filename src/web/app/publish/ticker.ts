/** A worker that only ticks: timers of a page in the background are slowed to one a second, those of workers are not. */

const scope = self as unknown as {
  onmessage: (event: MessageEvent<number>) => void;
  postMessage(tick: number): void;
};

scope.onmessage = ({ data: fps }) => {
  let tick = 0;
  setInterval(() => scope.postMessage(tick++), 1000 / fps);
};
