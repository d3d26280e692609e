/** A bar that shows that there is sound, before anybody has to ask. */

const FLOOR_DB = -60;

export class Meter {
  readonly #bar: HTMLElement;
  #source: MediaStreamAudioSourceNode | null = null;
  #frame = 0;

  constructor(bar: HTMLElement) {
    this.#bar = bar;
  }

  show(audio: AudioContext, track: MediaStreamTrack): void {
    this.hide();
    const source = new MediaStreamAudioSourceNode(audio, { mediaStream: new MediaStream([track]) });
    const analyser = new AnalyserNode(audio, { fftSize: 1024 });
    source.connect(analyser);
    this.#source = source;
    const samples = new Float32Array(analyser.fftSize);
    let shown = 0;
    const draw = (): void => {
      analyser.getFloatTimeDomainData(samples);
      let peak = 0;
      for (const sample of samples) peak = Math.max(peak, Math.abs(sample));
      const level = peak === 0 ? 0 : Math.max(0, 1 - (20 * Math.log10(peak)) / FLOOR_DB);
      // Up at once, down slowly, so that short sounds can be seen.
      shown = Math.max(level, shown - 0.02);
      this.#bar.style.transform = `scaleX(${shown.toFixed(3)})`;
      this.#frame = requestAnimationFrame(draw);
    };
    draw();
  }

  hide(): void {
    cancelAnimationFrame(this.#frame);
    this.#source?.disconnect();
    this.#source = null;
    this.#bar.style.transform = 'scaleX(0)';
  }
}
