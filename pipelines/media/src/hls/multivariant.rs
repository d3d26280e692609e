//! The multivariant playlist: what renditions there are and what they cost.

use super::lane::Lane;
use super::segment::{keyframes_path, playlist_path};
use crate::codec::{Format, TrackKind};
use m3u8_rs::{
    AlternativeMedia, AlternativeMediaType, MasterPlaylist, QuotedOrUnquoted, Resolution, Start,
    VariantStream,
};
use std::collections::HashMap;

/// The one group of audio renditions.
const AUDIO_GROUP: &str = "audio";

/// The multivariant playlist (rfc8216bis section 4.4.6) of these renditions, in the order they were announced: a variant for
/// each video rendition, all with the same group of audio renditions, and the playlists of their keyframes; without video, a
/// variant for each audio rendition. `None` when there is nothing to play.
///
/// `audio_only` adds the variants of sound alone also where there is video, behind the others: players begin with the first. `from_start` adds `EXT-X-START` (section 4.4.2.2) at the beginning.
pub(super) fn render(lanes: &[&Lane], from_start: bool, audio_only: bool) -> Option<String> {
    let lanes: Vec<&Lane> = lanes.iter().copied().filter(|lane| lane.header.is_some()).collect();
    let of = |kind| lanes.iter().copied().filter(move |lane| lane.kind == kind);
    let audios: Vec<&Lane> = of(TrackKind::Audio).collect();
    let mut variants: Vec<VariantStream> = of(TrackKind::Video).filter_map(|v| variant(v, &audios)).collect();
    let mut alternatives = Vec::new();
    if variants.is_empty() {
        variants = audios.iter().filter_map(|audio| variant(audio, &[])).collect();
    } else {
        alternatives = audios.iter().enumerate().filter_map(|(i, audio)| alternative(i, audio)).collect();
        if audio_only {
            variants.extend(audios.iter().filter_map(|audio| variant(audio, &[])));
        }
    }
    if variants.is_empty() {
        return None;
    }
    variants.extend(of(TrackKind::Video).filter_map(keyframes));
    let start =
        from_start.then(|| Start { time_offset: 0.0, precise: None, other_attributes: HashMap::new() });
    let playlist = MasterPlaylist {
        version: Some(6),
        independent_segments: true,
        variants,
        alternatives,
        start,
        ..Default::default()
    };
    let mut out = Vec::with_capacity(1024);
    playlist.write_to(&mut out).expect("a Vec takes everything");
    Some(String::from_utf8(out).expect("made of text"))
}

fn alternative(index: usize, lane: &Lane) -> Option<AlternativeMedia> {
    let Format::Audio(format) = lane.header.as_ref()?.format.as_ref() else { return None };
    Some(AlternativeMedia {
        media_type: AlternativeMediaType::Audio,
        uri: Some(playlist_path(&lane.name)),
        group_id: AUDIO_GROUP.to_owned(),
        language: None,
        assoc_language: None,
        name: lane.name.to_string(),
        default: index == 0,
        autoselect: true,
        forced: false,
        instream_id: None,
        characteristics: None,
        channels: Some(format.channels.to_string()),
        other_attributes: None,
    })
}

/// The playlist of a rendition's keyframes (rfc8216bis section 4.4.6.3).
fn keyframes(lane: &Lane) -> Option<VariantStream> {
    let header = lane.header.as_ref()?;
    let Format::Video(video) = header.format.as_ref() else { return None };
    Some(VariantStream {
        is_i_frame: true,
        uri: keyframes_path(&lane.name),
        bandwidth: lane.meter.keyframe_peak()?,
        codecs: Some(header.codecs.clone()),
        resolution: Some(Resolution { width: video.width.into(), height: video.height.into() }),
        ..Default::default()
    })
}

fn variant(lane: &Lane, audios: &[&Lane]) -> Option<VariantStream> {
    let header = lane.header.as_ref()?;
    let mut codecs = vec![header.codecs.clone()];
    for audio in audios.iter().filter_map(|audio| audio.header.as_ref()) {
        if !codecs.contains(&audio.codecs) {
            codecs.push(audio.codecs.clone());
        }
    }
    // A player hears one of the group: the dearest counts.
    let dearest = |of: fn(&Lane) -> u64| audios.iter().map(|audio| of(audio)).max().unwrap_or(0);
    let peak = |lane: &Lane| lane.header.as_ref().map_or(0, |h| lane.meter.peak(&h.format));
    let average = |lane: &Lane| lane.meter.average();
    let (resolution, frame_rate) = match header.format.as_ref() {
        Format::Video(video) => {
            let size = Resolution { width: video.width.into(), height: video.height.into() };
            (Some(size), lane.meter.frame_rate())
        }
        Format::Audio(_) => (None, None),
    };
    // As text, so that 30 stays `30.000`.
    let other_attributes =
        frame_rate.map(|rate| HashMap::from([("FRAME-RATE".to_owned(), QuotedOrUnquoted::Unquoted(rate))]));
    Some(VariantStream {
        uri: playlist_path(&lane.name),
        bandwidth: peak(lane) + dearest(peak),
        average_bandwidth: Some(average(lane) + dearest(average)),
        codecs: Some(codecs.join(",")),
        resolution,
        audio: (!audios.is_empty()).then(|| AUDIO_GROUP.to_owned()),
        other_attributes,
        ..Default::default()
    })
}
