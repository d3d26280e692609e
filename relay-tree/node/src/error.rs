//! What can be wrong, in words for whoever must put it right.

use skywave_media::codec::TrackKind;
use std::io;
use std::net::SocketAddr;

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A socket could not be had.
    #[error("cannot listen for media on UDP {addr}: {source}")]
    Bind {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A listener for media over TCP could not be had.
    #[error("cannot listen for media on TCP {addr}: {source}")]
    BindTcp {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The configuration asks for no listening address at all.
    #[error("no address to listen on: `bind` is empty, or this machine has none of its families")]
    NothingToBind,
    /// `media_port + threads` leaves the range of ports.
    #[error("media port {media_port} leaves no room for {threads} threads below 65536")]
    PortsExhausted {
        /// The first port.
        media_port: u16,
        /// Threads, each with a port of its own.
        threads: usize,
    },
    /// There is no address a peer could be told.
    #[error("no address to put into answers: the machine has none and `advertise` is empty")]
    NothingToAdvertise,
    /// The DTLS certificate could not be made.
    #[error("cannot make a DTLS certificate: {0}")]
    Certificate(String),
    /// A thread or its poller could not be made.
    #[error("cannot start a relay thread: {0}")]
    Thread(#[from] io::Error),
}

/// Why an offer got no answer. The text is for the developer of the client, and says what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OfferError {
    /// The body is no session description.
    #[error("this is not SDP: line {line}: {reason}")]
    NotSdp {
        /// Counted from one.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The body is larger than any honest offer.
    #[error("the offer has {bytes} bytes; at most {limit} are read")]
    TooLarge {
        /// Size of the offer.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// More `m=` sections than a publisher has use for.
    #[error("the offer has {sections} m= sections; at most {limit} are read")]
    TooManyTracks {
        /// Number of sections.
        sections: usize,
        /// The limit.
        limit: usize,
    },
    /// A publisher sends two tracks of one kind.
    #[error(
        "m= section {section} is a second one of its kind: a stream has one video and one audio track (RFC 9725 section 4.4.2)"
    )]
    SecondOfKind {
        /// Counted from zero.
        section: usize,
    },
    /// Neither audio nor video is offered.
    #[error("the offer has no m=audio and no m=video section")]
    NoMedia,
    /// A media section is malformed.
    #[error("m= section {section}: {reason}")]
    BadSection {
        /// Counted from zero.
        section: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Nothing is offered that the client would send.
    #[error(
        "the offer sends nothing: a publisher offers a=sendonly (or sendrecv), this one offers {offered}"
    )]
    NotSendable {
        /// The direction found: `recvonly` or `inactive`.
        offered: &'static str,
    },
    /// Nothing is offered that the client would receive.
    #[error(
        "the offer receives nothing: a viewer offers a=recvonly (or sendrecv), this one offers {offered}"
    )]
    NotReceivable {
        /// The direction found: `sendonly` or `inactive`.
        offered: &'static str,
    },
    /// A viewer decodes nothing of what the stream has.
    #[error("no common {} codec: the stream has {on_air}, offered is {offered}", kind.as_str())]
    NoCommonCodec {
        /// The lane.
        kind: TrackKind,
        /// Names of the codecs the stream can be sent in.
        on_air: String,
        /// Names of the codecs offered.
        offered: String,
    },
    /// The media are not protected by DTLS-SRTP.
    #[error("m= section {section} offers {protocol}; only UDP/TLS/RTP/SAVPF (DTLS-SRTP) is spoken")]
    NotSecure {
        /// Counted from zero.
        section: usize,
        /// The protocol of the `m=` line.
        protocol: String,
    },
    /// None of a track's codecs is known here.
    #[error("no usable {} codec: offered {offered}; usable are {}", kind.as_str(), usable(*kind))]
    NoUsableCodec {
        /// The lane.
        kind: TrackKind,
        /// Names of the codecs offered.
        offered: String,
    },
    /// A payload type stands for two codecs.
    #[error("payload type {payload_type} is offered twice in one bundle")]
    AmbiguousPayloadType {
        /// The payload type.
        payload_type: u8,
    },
    /// No ICE credentials.
    #[error("the offer has no a=ice-ufrag and a=ice-pwd")]
    NoIce,
    /// ICE credentials that break the grammar.
    #[error(
        "a=ice-ufrag must have 4 to 256 and a=ice-pwd 22 to 256 letters, digits, + or / (RFC 8839 section 5.4)"
    )]
    BadIce,
    /// Both sides are lite: nobody would send the first packet.
    #[error("the offer is a=ice-lite, and so is this server: one side must do the connectivity checks")]
    IceLite,
    /// No certificate fingerprint.
    #[error("the offer has no a=fingerprint")]
    NoFingerprint,
    /// A fingerprint, but not by SHA-256.
    #[error("the offer has no usable a=fingerprint: one by sha-256 with 32 bytes in hex is needed")]
    BadFingerprint,
    /// The offer wants this server to begin the DTLS handshake, or no handshake.
    #[error("a=setup:{offered} cannot be answered: offer actpass, or active (RFC 9725 section 4.4.1)")]
    BadSetup {
        /// The role offered.
        offered: String,
    },
    /// Audio and video would need two transports.
    #[error("audio and video are not in one a=group:BUNDLE with an a=mid each (RFC 9725 section 4.4.2)")]
    NotBundled,
    /// RTCP would need a port of its own.
    #[error("m= section {section} lacks a=rtcp-mux (RFC 9725 section 4.4.1)")]
    NoRtcpMux {
        /// Counted from zero.
        section: usize,
    },
    /// No room for another session.
    #[error("this node is full: {limit} sessions")]
    Overloaded {
        /// The limit.
        limit: usize,
    },
    /// The receiver of the publisher's events is gone, or has no room for even the first.
    #[error("the stream cannot take a publisher now")]
    StreamGone,
    /// Something broke on this side.
    #[error("the session could not be made: {0}")]
    Internal(String),
}

impl OfferError {
    /// Whether the client must change its offer (4xx), rather than try later (503).
    pub const fn is_clients_fault(&self) -> bool {
        !matches!(self, Self::Overloaded { .. } | Self::StreamGone | Self::Internal(_))
    }
}

const fn usable(kind: TrackKind) -> &'static str {
    match kind {
        TrackKind::Video => "VP8, VP9 (profiles 0 and 2), H264 (Baseline, Main, High), AV1 (profile 0)",
        TrackKind::Audio => "opus/48000/2",
    }
}
