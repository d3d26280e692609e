/** Which way of playing comes first in which browser. */

export interface PlayerAbilities {
  /** `navigator.vendor`; all browsers on iOS are WebKit and say Apple. */
  vendor: string;
  /** Media Source Extensions or ManagedMediaSource. */
  mse: boolean;
  /** `canPlayType('application/vnd.apple.mpegurl')` is not empty. */
  nativeHls: boolean;
}

export type PathName = 'hls.js' | 'native-hls';

/**
 * Safari plays HLS (and low-latency HLS) better itself: AirPlay, battery, picture in picture in the background. Other
 * browsers that say they can (Chromium on Android and lately on desktops) do it without latency control, so hls.js goes first.
 *
 * @param wish a name that comes first whatever the browser (`?player=`), if it can be used at all
 */
export function pathOrder(abilities: PlayerAbilities, wish: string | null): PathName[] {
  const order: PathName[] = abilities.vendor.startsWith('Apple')
    ? ['native-hls', 'hls.js']
    : ['hls.js', 'native-hls'];
  const usable = order.filter((name) => (name === 'hls.js' ? abilities.mse : abilities.nativeHls));
  return usable.sort((a, b) => Number(b === wish) - Number(a === wish));
}
