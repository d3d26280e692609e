/** What can go wrong when publishing, each with a code for tests and words for people. */

import { sentence } from './format.ts';

export interface Failure {
  /** Stable, for tests and for `document.body.dataset.errorCode`. */
  code: string;
  title: string;
  /** What to do about it. */
  hint: string;
}

export type Device = 'camera' | 'microphone' | 'screen';

/** The media port of the server when nothing else is configured (design.md section 5). */
const MEDIA_PORT = 8190;

const NOUN: Record<Device, string> = {
  camera: 'camera',
  microphone: 'microphone',
  screen: 'screen',
};

/** A failed `getUserMedia` or `getDisplayMedia`, by the name of its `DOMException`. */
export function deviceFailure(exceptionName: string, devices: readonly Device[]): Failure {
  const what = devices.map((device) => NOUN[device]).join(' and ') || 'device';
  const screen = devices.includes('screen');
  switch (exceptionName) {
    case 'NotAllowedError':
    case 'SecurityError':
      return screen
        ? {
            code: 'screen-refused',
            title: 'No screen was shared.',
            hint: 'Press Go live again and choose a screen, a window or a tab. On some systems the browser needs the permission to record the screen in the system settings.',
          }
        : {
            code: 'device-refused',
            title: `The browser was not allowed to use the ${what}.`,
            hint: 'Allow it in the address bar (the camera or padlock sign) and try again. On a phone or a Mac, look into the system settings for this browser as well.',
          };
    case 'NotFoundError':
    case 'DevicesNotFoundError':
      return {
        code: 'device-missing',
        title: `No ${what} was found.`,
        hint: 'Plug one in, or choose another source: the screen, the test picture, or sound only.',
      };
    case 'NotReadableError':
    case 'TrackStartError':
    case 'AbortError':
      return {
        code: 'device-in-use',
        title: `The ${what} is in use or did not start.`,
        hint: 'Close other programs and tabs that use it (video calls, for instance) and try again.',
      };
    case 'OverconstrainedError':
      return {
        code: 'device-unable',
        title: `The ${what} cannot do what was asked for.`,
        hint: 'Choose another resolution or frame rate, or another device.',
      };
    default:
      return {
        code: 'device-failed',
        title: `The ${what} could not be opened (${exceptionName}).`,
        hint: 'Try another source, or another browser.',
      };
  }
}

/** Browsers hide cameras, microphones and screens from pages that came over plain HTTP from another machine. */
export function insecurePage(origin: string): Failure {
  return {
    code: 'insecure-page',
    title: 'The browser gives cameras, microphones and screens only to secure pages.',
    hint: `This page came over plain http from ${origin}. Open it through https, or on the server itself as http://localhost. The test picture works here as well.`,
  };
}

export function unsupportedSource(source: Device): Failure {
  return {
    code: 'unsupported-source',
    title: `This browser cannot share the ${NOUN[source]}.`,
    hint: 'Choose another source. Phones, for instance, do not share their screens from a web page.',
  };
}

export function nothingToSend(): Failure {
  return {
    code: 'nothing-to-send',
    title: 'There is nothing to send.',
    hint: 'Picture and sound are both off. Switch one of them on.',
  };
}

export function codecMissing(codec: string): Failure {
  return {
    code: 'codec-missing',
    title: `This browser cannot send ${codec}.`,
    hint: 'Choose another codec, or Automatic.',
  };
}

export function noWebRtc(): Failure {
  return {
    code: 'no-webrtc',
    title: 'This browser has no WebRTC.',
    hint: 'It may be switched off by a setting or an extension. Try another browser.',
  };
}

/** Neither the codec nor any other can be recorded as WebM (Safari before 18.4, for instance). */
export function noRecorder(): Failure {
  return {
    code: 'no-recorder',
    title: 'This browser cannot record WebM.',
    hint: 'Choose another codec or Automatic, or try another browser.',
  };
}

/** The recorder gave up: an encoder that failed, or tracks it cannot record. */
export function recorderFailed(detail: string): Failure {
  return {
    code: 'recorder-failed',
    title: 'The browser could not record picture and sound.',
    hint: `${sentence(detail)} Try another codec.`,
  };
}

/** HTTP works, a WebSocket to the same address does not. */
export function socketFailed(): Failure {
  return {
    code: 'websocket-failed',
    title: 'The server answered, but a WebSocket to it did not stay open.',
    hint: 'A proxy between here and the server may not let WebSockets through.',
  };
}

/** Both ways were tried. The first keeps its code: that it works is what to see to. */
export function bothWaysFailed(webrtc: Failure, webm: Failure): Failure {
  return {
    code: webrtc.code,
    title: webrtc.title,
    hint: `${webrtc.hint} WebM over WebSocket was tried as well: ${webm.title} ${webm.hint}`,
  };
}

/**
 * The network path for media could not be made (ICE), although the server answered over HTTP.
 *
 * @param addresses what the server named as its own, `192.0.2.7:8190/udp`
 */
export function iceFailed(hostname: string, addresses: readonly string[]): Failure {
  const tried = addresses.slice(0, 4).join(', ');
  return {
    code: 'ice-failed',
    title: 'The server answered, but no media connection came about.',
    hint: `UDP port ${MEDIA_PORT} (and the next ones) of ${hostname} must be reachable from here. ${tried === '' ? 'The server named no address of its own' : `The server named ${tried}`}: look at its advertised addresses, at firewalls, and at the port mapping of a router or container.`,
  };
}

/** ICE connected, but the encryption handshake did not end well. */
export function handshakeFailed(): Failure {
  return {
    code: 'handshake-failed',
    title: 'The encrypted media connection could not be set up.',
    hint: 'Try again. If it stays, a program between this browser and the server changes the traffic.',
  };
}

export function serverUnreachable(origin: string): Failure {
  return {
    code: 'server-unreachable',
    title: 'The server cannot be reached.',
    hint: `Nothing answers at ${origin}. Is the server running, and is this device online?`,
  };
}

export function serverRefused(status: number, title: string, detail: string): Failure {
  return {
    code: 'server-refused',
    title: `The server refused: ${sentence(title)}`,
    hint: detail === '' ? `Status ${status}.` : detail,
  };
}

export function badAnswer(detail: string): Failure {
  return {
    code: 'bad-answer',
    title: 'The server answered with something this browser cannot use.',
    hint: detail,
  };
}

export function takenOver(stream: string): Failure {
  return {
    code: 'taken-over',
    title: `Somebody else is publishing as ${stream} now.`,
    hint: 'This page has stopped so that the two do not throw each other out. Press Go live to take the name back.',
  };
}

export function sourceEnded(kind: 'picture' | 'sound'): Failure {
  return {
    code: 'source-ended',
    title: kind === 'picture' ? 'The picture has ended.' : 'The sound has ended.',
    hint: 'The device was unplugged, or sharing was stopped. Press Go live to start again.',
  };
}
