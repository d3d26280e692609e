//! The order and padding in which packets that came together leave together, worked out once for all viewers.
//!
//! One system call sends a run of packets to a viewer when all have one length but for the last, which may be shorter (UDP generic
//! segmentation offload). libwebrtc cuts a frame into packets that differ by a byte, the smaller ones first, and audio comes in
//! between: sent as it came, such a frame would be three runs. With a byte of RTP padding in some packets (RFC 3550 section 5.1) and
//! audio at the end it is one.
//!
//! What belongs here: lengths and order. What does not: bytes on the wire ([`crate::egress`]), and which viewers are padded to.

use crate::feed::FeedPacket;
use skywave_media::codec::TrackKind;

/// The most padding in a packet, in bytes: 3 % of a full one. Costs the viewer's way less than a packet's headers do, and covers what
/// libwebrtc leaves free in the first packet of a frame for header extensions that are not passed on.
const MAX_PADDING: usize = 32;

/// Brings packets into the order in which they are sent, each source's own order kept, and sets their padding.
pub(crate) fn arrange(packets: &mut [FeedPacket]) {
    if packets.len() < 2 {
        return;
    }
    packets.sort_by_key(|packet| (packet.kind == TrackKind::Audio, packet.source));
    let video = packets.iter().position(|packet| packet.kind == TrackKind::Audio).unwrap_or(packets.len());
    for source in packets[..video].chunk_by_mut(|a, b| a.source == b.source) {
        let mut rest = source;
        while !rest.is_empty() {
            let (run, after) = rest.split_at_mut(run_length(rest));
            pad(run);
            rest = after;
        }
    }
}

/// How many of the first packets can become one run.
fn run_length(packets: &[FeedPacket]) -> usize {
    let (mut least, mut most) = (usize::MAX, 0);
    for (index, packet) in packets.iter().enumerate() {
        let length = packet.payload.len();
        let (lower, upper) = (least.min(length), most.max(length));
        if upper - lower > MAX_PADDING {
            // One that is far shorter ends a run, one that is far longer begins the next.
            return if length < least { index + 1 } else { index };
        }
        (least, most) = (lower, upper);
    }
    packets.len()
}

/// Pads all but the last packet of a run to its longest one; the last may be shorter.
fn pad(run: &mut [FeedPacket]) {
    let most = run.iter().map(|packet| packet.payload.len()).max().unwrap_or(0);
    let padded = run.len().saturating_sub(1);
    for packet in &mut run[..padded] {
        packet.padding = u8::try_from(most - packet.payload.len()).unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use relay_proto::continuity::SourceId;
    use skywave_media::codec::Codec;
    use skywave_media::time::Mono;

    fn packet(source: u32, seq: u64, length: usize) -> FeedPacket {
        let kind = if source == 0 { TrackKind::Audio } else { TrackKind::Video };
        FeedPacket {
            source: SourceId(source),
            kind,
            codec: if source == 0 { Codec::Opus } else { Codec::Vp8 },
            seq,
            timestamp: 0,
            marker: false,
            keyframe: false,
            picture: None,
            arrival: Mono::from_millis(0),
            padding: 0,
            payload: vec![0; length].into(),
        }
    }

    fn arranged(lengths: &[(u32, usize)]) -> Vec<(u32, usize, u8)> {
        let numbered = lengths.iter().enumerate();
        let mut packets: Vec<_> =
            numbered.map(|(n, (source, length))| packet(*source, n as u64, *length)).collect();
        arrange(&mut packets);
        packets.iter().map(|p| (p.source.0, p.payload.len(), p.padding)).collect()
    }

    #[test]
    fn a_frame_of_libwebrtc_with_sound_in_between_becomes_one_run() {
        let sent = arranged(&[(1, 1_041), (1, 1_041), (0, 90), (1, 1_042), (1, 1_042)]);
        assert_eq!(sent, [(1, 1_041, 1), (1, 1_041, 1), (1, 1_042, 0), (1, 1_042, 0), (0, 90, 0)]);
    }

    #[test]
    fn a_short_end_is_not_padded_and_what_differs_by_much_is_another_run() {
        assert_eq!(
            arranged(&[(1, 1_000), (1, 1_000), (1, 200)]),
            [(1, 1_000, 0), (1, 1_000, 0), (1, 200, 0)]
        );
        assert_eq!(
            arranged(&[(1, 200), (1, 1_000), (1, 1_000)]),
            [(1, 200, 0), (1, 1_000, 0), (1, 1_000, 0)]
        );
        assert_eq!(arranged(&[(1, 1_000), (1, 990)]), [(1, 1_000, 0), (1, 990, 0)]);
        assert_eq!(arranged(&[(1, 990), (1, 1_000)]), [(1, 990, 10), (1, 1_000, 0)]);
        assert_eq!(arranged(&[(1, 990), (2, 1_000)]), [(1, 990, 0), (2, 1_000, 0)]);
        assert_eq!(arranged(&[(1, 900)]), [(1, 900, 0)]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_no_source_is_reordered_and_runs_are_runs(
            lengths in prop::collection::vec((0_u32..3, 1_usize..1_200), 0..40),
        ) {
            let mut packets: Vec<_> =
                lengths.iter().enumerate().map(|(n, (source, length))| packet(*source, n as u64, *length)).collect();
            arrange(&mut packets);
            prop_assert_eq!(packets.len(), lengths.len());
            for source in 0..3 {
                let seqs: Vec<_> = packets.iter().filter(|p| p.source.0 == source).map(|p| p.seq).collect();
                prop_assert!(seqs.is_sorted());
            }
            for pair in packets.windows(2).filter(|pair| pair[0].padding > 0) {
                // Padding is only there to reach the length of what follows, or of what the run has had before.
                prop_assert!(usize::from(pair[0].padding) <= MAX_PADDING && pair[0].source == pair[1].source);
                let total = pair[0].payload.len() + usize::from(pair[0].padding);
                prop_assert!(pair[1].payload.len() + usize::from(pair[1].padding) <= total);
            }
        }
    }
}
