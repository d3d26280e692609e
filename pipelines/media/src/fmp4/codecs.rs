//! The codec names of RFC 6381, read from the decoder configuration and not from hope.

use super::Fmp4Error;
use crate::codec::{Codec, Format};

/// What this format is called in a `CODECS` attribute (RFC 6381 section 3.3): `avc1.42E01F`, `mp4a.40.2`.
///
/// H.264's name is the three bytes of profile, constraints and level as they stand in `avcC`; AAC's is the audio object
/// type of its `AudioSpecificConfig`.
///
/// # Errors
/// A configuration record too short to name its profile, or a codec that has no name here.
pub fn codecs_attribute(format: &Format) -> Result<String, Fmp4Error> {
    let short = |codec| Fmp4Error::Config { codec, reason: "record too short".to_owned() };
    match format {
        Format::Video(video) if video.codec == Codec::H264 => match video.config.as_ref() {
            [1, profile, constraints, level, ..] => {
                Ok(format!("avc1.{profile:02X}{constraints:02X}{level:02X}"))
            }
            _ => Err(short(Codec::H264)),
        },
        Format::Audio(audio) if audio.codec == Codec::Aac => {
            Ok(format!("mp4a.40.{}", audio_object_type(&audio.config).ok_or_else(|| short(Codec::Aac))?))
        }
        Format::Audio(audio) if audio.codec == Codec::Opus => Ok("opus".to_owned()),
        other => Err(Fmp4Error::Codec(other.codec())),
    }
}

/// The audio object type at the head of an `AudioSpecificConfig` (ISO/IEC 14496-3 section 1.6.2.1): five bits, or 32
/// and six more bits.
fn audio_object_type(config: &[u8]) -> Option<u8> {
    let (first, second) = (*config.first()?, *config.get(1)?);
    match first >> 3 {
        31 => Some(32 + ((first & 0b111) << 3 | second >> 5)),
        0 => None,
        known => Some(known),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_type_is_read_in_both_its_forms() {
        assert_eq!(audio_object_type(&[0x11, 0x90]), Some(2));
        assert_eq!(audio_object_type(&[0xF9, 0x46]), Some(42));
        assert_eq!(audio_object_type(&[0x11]), None);
        assert_eq!(audio_object_type(&[]), None);
    }
}
