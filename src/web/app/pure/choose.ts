/** Which way of playing comes first in which browser, and what an answer of the server means for the way. */

export const PATH_NAMES = ['whep', 'hls.js', 'native-hls'] as const;

export type PathName = (typeof PATH_NAMES)[number];

export const PATH_LABEL: Record<PathName, string> = {
  whep: 'WebRTC',
  'hls.js': 'HLS',
  'native-hls': 'HLS, by the browser itself',
};

export interface PlayerAbilities {
  /** `navigator.vendor`; all browsers on iOS are WebKit and say Apple. */
  vendor: string;
  /** `RTCPeerConnection` is there. */
  webrtc: boolean;
  /** Media Source Extensions or ManagedMediaSource. */
  mse: boolean;
  /** `canPlayType('application/vnd.apple.mpegurl')` is not empty. */
  nativeHls: boolean;
}

/** The ways that this browser has, best first. */
export function usablePaths({ vendor, webrtc, mse, nativeHls }: PlayerAbilities): PathName[] {
  // Safari plays HLS (and low-latency HLS) better itself: AirPlay, battery, picture in picture in the background. Other
  // browsers that say they can (Chromium on Android and lately on desktops) do it without latency control.
  const hls: PathName[] = vendor.startsWith('Apple') ? ['native-hls', 'hls.js'] : ['hls.js', 'native-hls'];
  const has: Record<PathName, boolean> = { whep: webrtc, 'hls.js': mse, 'native-hls': nativeHls };
  return (['whep', ...hls] as const).filter((name) => has[name]);
}

/** `?player=`: a way that the viewer insists on; null for `auto`, and for a name that nobody knows. */
export function readWish(text: string | null): PathName | null {
  return PATH_NAMES.find((name) => name === text) ?? null;
}

/** The ways to try in order. A wish is the only one, if the browser has it: whoever insists wants to know when it fails. */
export function pathOrder(abilities: PlayerAbilities, wish: PathName | null): PathName[] {
  const usable = usablePaths(abilities);
  return wish !== null && usable.includes(wish) ? [wish] : usable;
}

/**
 * The same for somebody who has gone back in the broadcast. WebRTC cannot, and the HLS of browsers other than Safari has nothing that is
 * seekable while it is live (Chromium 156), so a wish for these does not count here.
 */
export function pathOrderInPast(abilities: PlayerAbilities, wish: PathName | null): PathName[] {
  const able = (name: PathName): boolean =>
    name === 'hls.js' || (name === 'native-hls' && abilities.vendor.startsWith('Apple'));
  return pathOrder(abilities, wish !== null && able(wish) ? wish : null).filter(able);
}

/** What an answer that is no 201 means to a viewer. */
export function refusalEnd(status: number): 'offline' | 'refused' | 'unusable' {
  // draft-ietf-wish-whep section 4.3.7 has 409 for a stream that nobody publishes at the moment.
  if (status === 404 || status === 409 || status === 410) return 'offline';
  if (status === 401 || status === 403) return 'refused';
  return 'unusable';
}
