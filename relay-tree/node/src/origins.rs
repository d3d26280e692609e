//! What one publisher sends, as viewers know it: a source for each layer and codec, and everybody's wish for its keyframes.
//!
//! What belongs here: which packet is of which source, and when its publisher is to be asked for a keyframe. What does not: how it is
//! asked, and what its session knows of the sender ([`crate::peer`]).

use crate::feed::{FeedPacket, SourceInfo};
use bytes::Bytes;
use relay_proto::continuity::SourceId;
use relay_proto::inspect::inspect;
use relay_proto::keyframe::KeyframeDemand;
use skywave_media::codec::Codec;
use skywave_media::time::Mono;
use std::sync::Arc;
use str0m::rtp::RtpHeader;

/// Sources of one publisher; more are not handed to viewers.
const MAX_ORIGINS: usize = 16;

/// One source: a layer in one codec.
struct Origin {
    ssrc: u32,
    track: usize,
    info: Arc<SourceInfo>,
    demand: KeyframeDemand,
}

/// All sources of one publisher, in the order of their first packets.
#[derive(Default)]
pub(crate) struct Origins(Vec<Origin>);

impl Origins {
    /// Where the packets of an SSRC in one codec belong, if such a source is known.
    pub(crate) fn find(&self, ssrc: u32, codec: Codec) -> Option<usize> {
        self.0.iter().position(|o| o.ssrc == ssrc && o.info.codec == codec)
    }

    /// Whether one more source would be handed to viewers.
    pub(crate) const fn has_room(&self) -> bool {
        self.0.len() < MAX_ORIGINS
    }

    /// A new source of the track with index `track`; gives its place here.
    pub(crate) fn begin(&mut self, ssrc: u32, track: usize, info: Arc<SourceInfo>) -> usize {
        self.0.push(Origin { ssrc, track, info, demand: KeyframeDemand::default() });
        self.0.len() - 1
    }

    /// Makes a packet of the source at `place` ready for viewers. `seq` is its extended sequence number.
    pub(crate) fn take(
        &mut self,
        place: usize,
        header: &RtpHeader,
        seq: u64,
        arrival: Mono,
        payload: &Bytes,
    ) -> FeedPacket {
        let Origin { info, demand, .. } = &mut self.0[place];
        let seen = inspect(info.codec, payload);
        if seen.keyframe_start {
            demand.handle_keyframe(arrival);
        }
        FeedPacket {
            source: info.id,
            kind: info.kind,
            codec: info.codec,
            seq,
            timestamp: header.timestamp,
            marker: header.marker,
            keyframe: seen.keyframe_start,
            picture: seen.picture,
            arrival,
            padding: 0,
            payload: payload.clone(),
        }
    }

    /// The SSRC of a source.
    pub(crate) fn ssrc_of(&self, source: SourceId) -> Option<u32> {
        self.0.iter().find(|o| o.info.id == source).map(|o| o.ssrc)
    }

    /// The newest source of an SSRC: it may have changed its codec.
    pub(crate) fn newest_of(&self, ssrc: u32) -> Option<SourceId> {
        self.0.iter().rev().find(|o| o.ssrc == ssrc).map(|o| o.info.id)
    }

    /// Somebody needs a keyframe of what an SSRC sends now.
    pub(crate) fn handle_demand(&mut self, ssrc: u32, now: Mono) {
        if let Some(origin) = self.0.iter_mut().rev().find(|o| o.ssrc == ssrc) {
            origin.demand.handle_demand(now);
        }
    }

    /// Lets time pass.
    pub(crate) fn handle_timeout(&mut self, now: Mono) {
        self.0.iter_mut().for_each(|o| o.demand.handle_timeout(now));
    }

    /// When [`Origins::handle_timeout`] is due.
    pub(crate) fn poll_timeout(&self) -> Option<Mono> {
        self.0.iter().filter_map(|o| o.demand.poll_timeout()).min()
    }

    /// The track and SSRC that is to be asked for a keyframe now.
    pub(crate) fn poll_request(&mut self) -> Option<(usize, u32)> {
        self.0.iter_mut().find_map(|o| o.demand.poll_request().then_some((o.track, o.ssrc)))
    }
}
