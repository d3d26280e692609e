/** What a WHEP server tells its viewer beside the media (draft-ietf-wish-whep-events), and the choice of a layer. */

import { type Layer, layerChoice, readLayers } from '../pure/layers.ts';
import { withToken } from '../pure/names.ts';
import { readProblem } from '../pure/problem.ts';
import { bearer, type SessionResource } from '../webrtc/session.ts';

const EVENTS_RELATION = 'urn:ietf:params:whep:ext:core:server-sent-events';
const LAYER_RELATION = 'urn:ietf:params:whep:ext:core:layer';
const WANTED = ['active', 'inactive', 'layers', 'viewercount'];
const REQUEST_DEADLINE_MS = 5_000;

export class ViewerEvents {
  /** Whether somebody publishes; null before the server has told anything. */
  published: boolean | null = null;
  viewers: number | null = null;
  layers: readonly Layer[] = [];

  readonly #resource: SessionResource;
  readonly #token: string | null;
  readonly #closed = new AbortController();
  #source: EventSource | null = null;

  constructor(resource: SessionResource, token: string | null) {
    this.#resource = resource;
    this.#token = token;
  }

  /** Subscribes, where the server has events. Everything here is an extra: without it the media plays all the same. */
  async open(): Promise<void> {
    const extension = this.#resource.extension(EVENTS_RELATION);
    if (extension === null) return;
    const offered = extension.link.params.get('events')?.split(/[\s,]+/) ?? WANTED;
    const wanted = WANTED.filter((name) => offered.includes(name));
    try {
      const response = await this.#post(extension.url, wanted);
      const location = response.headers.get('Location');
      if (response.status !== 201 || location === null || this.#closed.signal.aborted) return;
      this.#listen(withToken(new URL(location, response.url || extension.url), this.#token), wanted);
    } catch (error) {
      if (!this.#closed.signal.aborted) console.warn('No events of the stream:', error);
    }
  }

  close(): void {
    this.#closed.abort();
    this.#source?.close();
    this.#source = null;
  }

  /** Rejects with the server's words. */
  async choose(layer: Layer | null): Promise<void> {
    const extension = this.#resource.extension(LAYER_RELATION);
    if (extension === null) throw new Error('The server offers no choice of layers.');
    const response =
      layer === null
        ? await this.#request(extension.url, { method: 'DELETE' })
        : await this.#post(extension.url, layerChoice(layer));
    if (response.ok) return;
    const type = response.headers.get('Content-Type');
    const { title, detail } = readProblem(response.status, type, await response.text());
    throw new Error(detail === '' ? title : `${title}: ${detail}`);
  }

  get canChoose(): boolean {
    return this.#resource.extension(LAYER_RELATION) !== null;
  }

  #post(url: URL, body: unknown): Promise<Response> {
    const headers = { 'Content-Type': 'application/json' };
    return this.#request(url, { method: 'POST', headers, body: JSON.stringify(body) });
  }

  #request(url: URL, init: RequestInit): Promise<Response> {
    return fetch(url, {
      ...init,
      headers: { ...init.headers, ...bearer(this.#token) },
      signal: AbortSignal.timeout(REQUEST_DEADLINE_MS),
    });
  }

  #listen(url: URL, names: readonly string[]): void {
    const source = new EventSource(url);
    this.#source = source;
    for (const name of names) {
      source.addEventListener(name, (event) => this.#handle(name, (event as MessageEvent<string>).data));
    }
    // A new connection is told everything again, beginning with `active` if somebody publishes.
    source.addEventListener('open', () => {
      this.published = null;
    });
  }

  #handle(name: string, text: string): void {
    let data: unknown;
    try {
      data = text === '' ? {} : JSON.parse(text);
    } catch {
      return;
    }
    // `inactive` is an end, so there is none at the beginning: whatever comes before `active` says that nobody publishes.
    if (name === 'active') this.published = true;
    else if (name === 'inactive') this.published = false;
    else this.published ??= false;
    if (name === 'layers') this.layers = readLayers(data);
    if (name === 'viewercount') {
      const count = (data as { viewercount?: unknown } | null)?.viewercount;
      this.viewers = typeof count === 'number' ? count : null;
    }
  }
}
