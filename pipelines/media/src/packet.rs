//! What the socket side hands to the pure side: RTP packets and sender reports of one track, unprotected.

use crate::codec::Codec;
use crate::time::Mono;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// One RTP packet after SRTP and RTX are undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packet {
    /// Synchronisation source; a change within a track is a new beginning (RFC 3550 section 8).
    pub ssrc: u32,
    /// Sequence number as on the wire (RFC 3550 section 5.1).
    pub sequence: u16,
    /// RTP timestamp as on the wire, in ticks of the codec's clock.
    pub timestamp: u32,
    /// Marker bit: the last packet of a video frame, the first of a talk spurt.
    pub marker: bool,
    /// What the payload is.
    pub codec: Codec,
    /// When the packet reached this machine.
    pub arrival: Mono,
    /// RTP payload without padding.
    pub payload: Bytes,
}

/// What an RTCP sender report says about one source (RFC 3550 section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SenderReport {
    /// The source it speaks of.
    pub ssrc: u32,
    /// The sender's wall clock as 32.32 fixed point seconds since 1900 (NTP timestamp).
    pub ntp: u64,
    /// The same instant in the source's RTP clock.
    pub rtp_timestamp: u32,
    /// When the report reached this machine.
    pub arrival: Mono,
}
