/** The layers of a simulcast picture, as a WHEP server lists them (draft-ietf-wish-whep-events, `layers` event). */

export interface Layer {
  /** Number of the media section that it belongs to. */
  mediaId: string;
  id: string;
  /** The member that names a layer in a choice: `rid` now, `encodingId` in older versions of the draft. */
  member: 'rid' | 'encodingId';
  width: number | null;
  height: number | null;
  /** Zero when nothing of it comes. */
  bitrateBps: number | null;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function number(value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

/** Reads the event's data; what is not understood is no layer. */
export function readLayers(data: unknown): Layer[] {
  if (!isObject(data)) return [];
  const layers: Layer[] = [];
  for (const [mediaId, section] of Object.entries(data)) {
    // Older versions have an object with the lists of those that flow and those that do not.
    const listed = Array.isArray(section) ? section : isObject(section) ? section['active'] : null;
    if (!Array.isArray(listed)) continue;
    for (const each of listed) {
      if (!isObject(each)) continue;
      const { rid, encodingId, id } = each;
      const name = [rid, encodingId, id].find((text) => typeof text === 'string' && text !== '');
      if (typeof name !== 'string') continue;
      layers.push({
        mediaId,
        id: name,
        member: typeof rid === 'string' ? 'rid' : 'encodingId',
        width: number(each['width']),
        height: number(each['height']),
        bitrateBps: number(each['bitrate']),
      });
    }
  }
  return layers;
}

/** The body of a choice; the DELETE of one lets the server choose again. */
export function layerChoice({ mediaId, member, id }: Layer): Record<string, string> {
  return { mediaId, [member]: id };
}
