//! CMAF chunks: one `moof` and its `mdat`.

use super::{Fmp4Error, TRACK_ID};
use bytes::{BufMut, Bytes, BytesMut};
use mp4_atom as mp4;
use mp4_atom::Encode;

/// Sample flags (ISO/IEC 14496-12 section 8.8.3.1): depends on no other sample, and is a sync sample.
const SYNC: u32 = 0x0200_0000;
/// Sample flags: depends on others, and is no sync sample.
const NOT_SYNC: u32 = 0x0101_0000;

/// One coded sample, times in ticks of the track's timescale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Ticks until the next sample is decoded.
    pub duration: u32,
    /// Ticks from decoding to showing it; negative where the picture belongs before its decode time.
    pub composition_offset: i32,
    /// Decoding can start here.
    pub sync: bool,
    /// The coded bytes, shared with the frame they came from.
    pub data: Bytes,
}

/// What a chunk says of itself beside its samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// `mfhd`: grows by one with every fragment of the track.
    pub sequence_number: u32,
    /// `tfdt` (always version 1): decode time of the first sample, in ticks since the start of the timeline.
    pub base_media_decode_time: u64,
    /// Begin with a `styp` (brands `msdh`, `cmfs`): for the first chunk of a segment.
    pub segment_start: bool,
}

impl Fragment {
    /// The chunk with these samples: `[styp] moof mdat`. The samples' bytes are copied once, into place.
    ///
    /// Defaults stand in `tfhd` wherever all samples agree (a constant frame rate costs 4 bytes a sample, the size);
    /// data offsets count from the `moof` (`default-base-is-moof`).
    ///
    /// # Errors
    /// More than 4 GiB of samples.
    ///
    /// # Panics
    /// Without samples: an empty run is not a chunk.
    pub fn write(&self, samples: &[Sample]) -> Result<Bytes, Fmp4Error> {
        assert!(!samples.is_empty(), "a chunk has samples");
        let payload: usize = samples.iter().map(|s| s.data.len()).sum();
        let mdat_size = u32::try_from(payload + MDAT_HEADER)
            .map_err(|_| Fmp4Error::Boxes("mdat of more than 4 GiB".to_owned()))?;
        let mut head = Vec::with_capacity(160 + 16 * samples.len());
        if self.segment_start {
            styp().encode(&mut head)?;
        }
        let styp_len = head.len();
        let mut moof = self.moof(samples);
        moof.encode(&mut head)?;
        // The offset is written with a fixed width, so the size found with a wrong one is right.
        let moof_len = head.len() - styp_len;
        let first_byte = i32::try_from(moof_len + MDAT_HEADER)
            .map_err(|_| Fmp4Error::Boxes("moof of more than 2 GiB".to_owned()))?;
        moof.traf[0].trun[0].data_offset = Some(first_byte);
        head.truncate(styp_len);
        moof.encode(&mut head)?;

        let mut out = BytesMut::with_capacity(head.len() + MDAT_HEADER + payload);
        out.extend_from_slice(&head);
        out.put_u32(mdat_size);
        out.extend_from_slice(b"mdat");
        for sample in samples {
            out.extend_from_slice(&sample.data);
        }
        Ok(out.freeze())
    }

    fn moof(&self, samples: &[Sample]) -> mp4::Moof {
        let first = &samples[0];
        let same_duration = samples.iter().all(|s| s.duration == first.duration);
        let no_offsets = samples.iter().all(|s| s.composition_offset == 0);
        let rest_sync = samples.get(1).map_or(first.sync, |s| s.sync);
        let rest_agrees = samples.iter().skip(1).all(|s| s.sync == rest_sync);
        let entry = |index: usize, sample: &Sample| mp4::TrunEntry {
            duration: (!same_duration).then_some(sample.duration),
            size: Some(u32::try_from(sample.data.len()).expect("checked: all samples together fit 32 bits")),
            flags: match rest_agrees {
                // Only the first differs: `first_sample_flags`.
                true => (index == 0 && sample.sync != rest_sync).then_some(flags(sample.sync)),
                false => Some(flags(sample.sync)),
            },
            cts: (!no_offsets).then_some(i64::from(sample.composition_offset)),
        };
        let entries: Vec<_> = samples.iter().enumerate().map(|(i, s)| entry(i, s)).collect();
        mp4::Moof {
            mfhd: mp4::Mfhd { sequence_number: self.sequence_number },
            traf: vec![mp4::Traf {
                tfhd: mp4::Tfhd {
                    track_id: TRACK_ID,
                    default_base_is_moof: true,
                    default_sample_duration: same_duration.then_some(first.duration),
                    default_sample_flags: rest_agrees.then(|| flags(rest_sync)),
                    ..Default::default()
                },
                tfdt: Some(mp4::Tfdt { base_media_decode_time: self.base_media_decode_time }),
                trun: vec![mp4::Trun { data_offset: Some(0), samples: entries.into() }],
                ..Default::default()
            }],
        }
    }
}

const MDAT_HEADER: usize = 8;

pub(crate) const fn flags(sync: bool) -> u32 {
    if sync { SYNC } else { NOT_SYNC }
}

/// ISO/IEC 14496-12 section 8.16.2, with the brands of ISO/IEC 23000-19 section 7.3.3.1.
fn styp() -> mp4::Styp {
    mp4::Styp {
        major_brand: b"msdh".into(),
        minor_version: 0,
        compatible_brands: vec![b"msdh".into(), b"cmfs".into()],
    }
}
