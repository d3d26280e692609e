// What the foreign publisher and the foreign viewer have in common: the peer connection, as any page would use it.
const gathered = (peer) => new Promise((resolve) => {
  if (peer.iceGatheringState === "complete") return resolve();
  peer.addEventListener("icegatheringstatechange", () => peer.iceGatheringState === "complete" && resolve());
});

const connected = (peer, limitMs) => new Promise((resolve, reject) => {
  const timer = setTimeout(() => reject(new Error(`connection is ${peer.connectionState} after ${limitMs} ms`)), limitMs);
  const look = () => {
    if (peer.connectionState === "connected") { clearTimeout(timer); resolve(); }
    if (peer.connectionState === "failed") { clearTimeout(timer); reject(new Error("connection failed")); }
  };
  peer.addEventListener("connectionstatechange", look);
  look();
});

// The servers of `Link: <turn:..>; rel="ice-server"; username=".."; credential=".."` (RFC 9725 section 4.6).
function iceServers(answer) {
  const links = [...(answer.headers.get("Link") ?? "").matchAll(/<([^>]*)>([^<]*)/g)].map(([, urls, rest]) =>
    ({ urls, ...Object.fromEntries([...rest.matchAll(/;\s*([\w-]+)="([^"]*)"/g)].map(([, name, value]) => [name, value])) }));
  return links.filter((link) => link.rel === "ice-server").map(({ urls, username, credential }) => ({ urls, username, credential }));
}

// How the connection goes: the candidates of the pair in use (webrtc-stats sections 8.18 and 8.20).
async function wayOf(peer) {
  const report = await peer.getStats(), all = [...report.values()];
  const transport = all.find((one) => one.type === "transport" && one.selectedCandidatePairId);
  const pair = transport ? report.get(transport.selectedCandidatePairId)
    : all.find((one) => one.type === "candidate-pair" && one.nominated && one.state === "succeeded");
  const local = report.get(pair?.localCandidateId), remote = report.get(pair?.remoteCandidateId);
  return { local: local?.candidateType ?? null, protocol: local?.protocol ?? null, relayProtocol: local?.relayProtocol ?? null,
    remote: remote ? `${remote.address ?? remote.ip}` : null };
}

// The candidates of the server that a network without UDP would let through.
const withoutUdp = (sdp) => sdp.split("\r\n").filter((line) => !/^a=candidate:\S+ \d+ udp /i.test(line)).join("\r\n");

// Offers, and takes the answer (RFC 9725 section 4.2, which draft-ietf-wish-whep repeats); resolves with the session's URL once the
// connection stands. `servers`: `options` asks for ICE servers first; `answer` takes them from the answer, before which nothing is
// gathered then; `none` does without.
async function openSession(peer, url, { servers = "none", tcpOnly = false, token = null, limitMs = 10_000 }) {
  const bearer = token ? { Authorization: `Bearer ${token}` } : {};
  const adopt = (answer) => peer.setConfiguration({ ...peer.getConfiguration(), iceServers: iceServers(answer) });
  if (servers === "options") adopt(await fetch(url, { method: "OPTIONS", headers: bearer }));
  const late = servers === "answer" ? await peer.createOffer() : null;
  if (!late) {
    await peer.setLocalDescription();
    await gathered(peer);
  }
  const headers = { "Content-Type": "application/sdp", ...bearer };
  const answer = await fetch(url, { method: "POST", headers, body: (late ?? peer.localDescription).sdp });
  const text = await answer.text();
  if (answer.status !== 201) throw new Error(`POST answered ${answer.status}: ${text}`);
  const location = answer.headers.get("Location");
  if (!location) throw new Error("no Location, or CORS does not expose it");
  if (!answer.headers.get("ETag")) throw new Error("no ETag, or CORS does not expose it");
  if (late) {
    adopt(answer);
    await peer.setLocalDescription(late);
  }
  await peer.setRemoteDescription({ type: "answer", sdp: tcpOnly ? withoutUdp(text) : text });
  await connected(peer, limitMs);
  return new URL(location, answer.url || url).href;
}

// Ends the session on the server (section 4.2) and here.
async function endSession({ peer, resource, token }) {
  const answer = await fetch(resource, { method: "DELETE", headers: token ? { Authorization: `Bearer ${token}` } : {} });
  peer.close();
  if (!answer.ok) throw new Error(`DELETE answered ${answer.status}`);
}
