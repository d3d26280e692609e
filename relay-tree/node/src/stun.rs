//! The one question asked of a STUN packet before any session sees it: whose is it?
//!
//! Everything else about STUN (integrity, roles, answers) is str0m's.

/// Length of a STUN header (RFC 8489 section 5).
const HEADER: usize = 20;
/// The magic cookie in bytes 4..8 (RFC 8489 section 5).
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// Binding request (RFC 8489 section 18.2).
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
/// Binding success response.
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
/// The USERNAME attribute (RFC 8489 section 18.3).
const USERNAME: u16 = 0x0006;

/// The first byte of STUN on a port shared with DTLS and RTP (RFC 7983 section 7).
pub(crate) fn looks_like_stun(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(0..=3))
}

/// The part before the colon of a binding request's USERNAME: the ICE user fragment of the side it is sent *to*
/// (RFC 8445 section 7.2.2). `None` when this is no well-formed binding request.
pub(crate) fn addressed_ufrag(datagram: &[u8]) -> Option<&str> {
    let (header, mut attributes) = datagram.split_at_checked(HEADER)?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[..2] != BINDING_REQUEST || header[4..8] != COOKIE || length != attributes.len() {
        return None;
    }
    while let Some((head, rest)) = attributes.split_at_checked(4) {
        let kind = u16::from_be_bytes([head[0], head[1]]);
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = rest.get(..length)?;
        if kind == USERNAME {
            return std::str::from_utf8(value).ok()?.split_once(':').map(|(local, _)| local);
        }
        // Values are padded to a multiple of four (RFC 8489 section 14).
        attributes = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// Whether this is a binding success response: str0m sends one only for a request whose integrity it has checked.
pub(crate) fn is_binding_success(datagram: &[u8]) -> bool {
    datagram.len() >= HEADER && datagram[..2] == BINDING_SUCCESS && datagram[4..8] == COOKIE
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(username: &str) -> Vec<u8> {
        let mut attributes = vec![0x80, 0x22, 0, 3, b'a', b'b', b'c', 0];
        attributes.extend([0, 6]);
        attributes.extend(u16::try_from(username.len()).unwrap().to_be_bytes());
        attributes.extend(username.bytes());
        attributes.resize(attributes.len().next_multiple_of(4), 0);
        let mut packet = vec![0, 1];
        packet.extend(u16::try_from(attributes.len()).unwrap().to_be_bytes());
        packet.extend(COOKIE);
        packet.extend([7; 12]);
        packet.extend(attributes);
        packet
    }

    #[test]
    fn the_name_before_the_colon_is_whom_a_request_is_for() {
        assert_eq!(addressed_ufrag(&request("ours:theirs")), Some("ours"));
        assert_eq!(addressed_ufrag(&request("o:t")), Some("o"));
        assert_eq!(addressed_ufrag(&request("no colon")), None);
    }

    #[test]
    fn a_cut_or_foreign_packet_is_nobodys() {
        let good = request("ours:theirs");
        for end in 0..good.len() {
            assert_eq!(addressed_ufrag(&good[..end]), None, "cut at {end}");
        }
        let mut answer = good.clone();
        answer[0] = 1;
        assert_eq!(addressed_ufrag(&answer), None);
        assert!(is_binding_success(&answer) && !is_binding_success(&good));
        let mut cookie = good;
        cookie[4] = 0;
        assert_eq!(addressed_ufrag(&cookie), None);
    }

    proptest! {
        #[test]
        fn no_bytes_from_outside_make_it_panic(datagram in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (addressed_ufrag(&datagram), is_binding_success(&datagram), looks_like_stun(&datagram));
        }

        #[test]
        fn no_broken_attribute_makes_it_panic(at in 0usize..44, byte in any::<u8>()) {
            let mut packet = request("ours:theirs");
            let at = at % packet.len();
            packet[at] = byte;
            let _ = addressed_ufrag(&packet);
        }
    }
}
