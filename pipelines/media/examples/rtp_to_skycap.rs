//! Makes a capture (`*.skycap`) of an RFC 4571 file of RTP packets, as GStreamer's `rtpstreampay ! filesink` writes it.
//!
//! `rtp_to_skycap RTP-FILE CODEC OUT`. There is no arrival time in such a file: packets are taken to arrive
//! 20 ms after the time of their RTP timestamp, 100 us apart. `samples/make-captures.sh` calls it.

use bytes::Bytes;
use skywave_media::capture::{Record, append};
use skywave_media::codec::Codec;
use skywave_media::ingest::TrackId;
use skywave_media::packet::Packet;
use skywave_media::time::{MediaTime, Mono};
use std::error::Error;
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    let [input, codec, output] = <[String; 3]>::try_from(std::env::args().skip(1).collect::<Vec<_>>())
        .map_err(|_| "usage: rtp_to_skycap RTP-FILE CODEC OUT")?;
    let codec = Codec::from_rtp_name(&codec).ok_or("no such codec")?;
    let data = std::fs::read(input)?;
    let mut capture = Vec::new();
    append(&mut capture, &Record::Track { id: TrackId(0), kind: codec.kind() })?;
    let mut rest = data.as_slice();
    let mut first = None;
    let mut last_arrival = Mono::from_millis(0);
    while let Some((length, tail)) = rest.split_first_chunk::<2>() {
        let (rtp, tail) = tail
            .split_at_checked(usize::from(u16::from_be_bytes(*length)))
            .ok_or("file ends inside a packet")?;
        rest = tail;
        let mut packet = parse(rtp, codec).ok_or("malformed RTP packet")?;
        let since_first = packet.timestamp.wrapping_sub(*first.get_or_insert(packet.timestamp)).cast_signed();
        let due = MediaTime::new(i64::from(since_first), codec.rtp_clock_rate()).as_nanos() + 1_020_000_000;
        let due = Mono::from_nanos(u64::try_from(due)?);
        packet.arrival = due.max(last_arrival + Duration::from_micros(100));
        last_arrival = packet.arrival;
        append(&mut capture, &Record::Packet { track: TrackId(0), packet })?;
    }
    std::fs::write(output, capture)?;
    Ok(())
}

/// An RTP packet (RFC 3550 section 5.1) without its padding, header extension and contributing sources.
fn parse(rtp: &[u8], codec: Codec) -> Option<Packet> {
    let (header, rest) = rtp.split_first_chunk::<12>()?;
    let mut payload = rest.get(4 * usize::from(header[0] & 0x0f)..)?;
    if header[0] & 0x10 != 0 {
        let (extension, tail) = payload.split_first_chunk::<4>()?;
        payload = tail.get(4 * usize::from(u16::from_be_bytes([extension[2], extension[3]]))..)?;
    }
    if header[0] & 0x20 != 0 {
        payload = payload.get(..payload.len().checked_sub(usize::from(*payload.last()?))?)?;
    }
    Some(Packet {
        ssrc: u32::from_be_bytes(header[8..12].try_into().ok()?),
        sequence: u16::from_be_bytes([header[2], header[3]]),
        timestamp: u32::from_be_bytes(header[4..8].try_into().ok()?),
        marker: header[1] & 0x80 != 0,
        codec,
        arrival: Mono::from_millis(0),
        payload: Bytes::copy_from_slice(payload),
    })
}
