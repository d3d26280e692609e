/**
 * The media side of the stand-in server: a page that answers offers, kept open in a tab. What publishers send, viewers get
 * (decoded and encoded again by the browser). It asks `/dev/jobs` for work and posts what came of it.
 */
function answerer() {
  /** id -> { pc, stream, kind, offer }, so that a test can end sessions as a server would. */
  const sessions = new Map();
  const trackOf = (stream, kind) =>
    [...sessions.values()]
      .filter((session) => session.kind === 'whip' && session.stream === stream)
      .flatMap(({ pc }) => pc.getReceivers())
      .map(({ track }) => track)
      .find((track) => track.kind === kind && track.readyState === 'live');

  /** Gives every viewer of a stream what is published now; a publisher that is gone leaves silence. */
  function feed(stream) {
    for (const { pc, kind, stream: watched } of sessions.values()) {
      if (kind !== 'whep' || watched !== stream) continue;
      for (const { sender, receiver } of pc.getTransceivers())
        sender.replaceTrack(trackOf(stream, receiver.track.kind) ?? null);
    }
  }

  async function gathered(pc) {
    while (pc.iceGatheringState !== 'complete')
      await new Promise((resolve) => pc.addEventListener('icegatheringstatechange', resolve, { once: true }));
    return pc.localDescription.sdp;
  }

  async function answerOffer(pc, offer) {
    await pc.setRemoteDescription({ type: 'offer', sdp: offer });
    await pc.setLocalDescription(await pc.createAnswer());
    return gathered(pc);
  }

  async function publish({ id, stream, sdp }) {
    const pc = new RTCPeerConnection();
    sessions.set(id, { pc, stream, kind: 'whip', offer: sdp });
    pc.ontrack = ({ track }) => {
      // Sound is decoded only when somebody listens.
      const audio = new Audio();
      audio.srcObject = new MediaStream([track]);
      audio.play().catch(() => {});
      track.addEventListener('unmute', () => feed(stream));
    };
    return answerOffer(pc, sdp);
  }

  async function watch({ id, stream, sdp, silent }) {
    const pc = new RTCPeerConnection();
    sessions.set(id, { pc, stream, kind: 'whep', offer: sdp });
    await pc.setRemoteDescription({ type: 'offer', sdp });
    for (const transceiver of pc.getTransceivers()) {
      const track = trackOf(stream, transceiver.receiver.track.kind);
      if (track === undefined && !silent) {
        transceiver.stop();
        continue;
      }
      transceiver.direction = 'sendonly';
      if (!silent) await transceiver.sender.replaceTrack(track);
    }
    await pc.setLocalDescription(await pc.createAnswer());
    return gathered(pc);
  }

  const lines = (text, start) => text.split(/\r?\n/).filter((line) => line.startsWith(start));
  const value = (text, name) => lines(text, `a=${name}:`)[0]?.slice(`a=${name}:`.length);

  async function trickle({ id, fragment }) {
    const { pc } = sessions.get(id);
    const sdpMid = value(fragment, 'mid');
    for (const line of lines(fragment, 'a=candidate:'))
      await pc.addIceCandidate({ candidate: line.slice('a='.length), sdpMid });
    return '';
  }

  async function restart({ id, fragment }) {
    const session = sessions.get(id);
    const candidates = lines(fragment, 'a=candidate:').map((line) => `${line}\r\n`);
    session.offer = session.offer
      .replace(/^a=candidate:.*\r\n/gm, '')
      .replace(/^a=ice-ufrag:.*/gm, `a=ice-ufrag:${value(fragment, 'ice-ufrag')}`)
      .replace(/^a=ice-pwd:.*/gm, `a=ice-pwd:${value(fragment, 'ice-pwd')}`)
      .replace(/^a=mid:.*\r\n/m, (line) => line + candidates.join(''));
    const answer = await answerOffer(session.pc, session.offer);
    const wanted = ['a=ice-ufrag:', 'a=ice-pwd:', 'a=candidate:'];
    const told = wanted.flatMap((start) => [...new Set(lines(answer, start))]);
    return `${[...told, 'a=end-of-candidates'].join('\r\n')}\r\n`;
  }

  function end({ id }) {
    const session = sessions.get(id);
    session?.pc.close();
    sessions.delete(id);
    if (session?.kind === 'whip') feed(session.stream);
    return '';
  }

  window.endAll = () => {
    for (const id of [...sessions.keys()]) end({ id });
  };
  window.inbound = async (id) => {
    const out = {};
    for (const stat of (await sessions.get(id).pc.getStats()).values()) {
      if (stat.type !== 'inbound-rtp') continue;
      const { packetsReceived, framesDecoded, frameWidth, frameHeight, audioLevel, totalAudioEnergy } = stat;
      const picture = { frames: framesDecoded, width: frameWidth, height: frameHeight };
      out[stat.kind] = { packets: packetsReceived, level: audioLevel, energy: totalAudioEnergy, ...picture };
    }
    return out;
  };

  const JOBS = { publish, watch, trickle, restart, end };
  async function work() {
    const response = await fetch('/dev/jobs');
    if (response.status !== 200) return;
    const job = await response.json();
    let body;
    try {
      // What was begun on a connection that is closed meanwhile never settles (webrtc-pc, "chain an asynchronous operation").
      const hung = new Promise((_, reject) => setTimeout(() => reject(new Error('it hung')), 3000));
      body = await Promise.race([JOBS[job.what](job), hung]);
    } catch (error) {
      body = `error ${error}`;
    }
    await fetch(`/dev/results/${job.job}`, { method: 'POST', body });
  }
  (async () => {
    for (;;) await work().catch(() => new Promise((resolve) => setTimeout(resolve, 300)));
  })();
}

export const ANSWERER = `<!doctype html><title>answerer</title><script>(${answerer})();</script>`;
