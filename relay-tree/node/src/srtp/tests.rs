//! Known answers of the RFCs, and both ends of a session against one another. That str0m and real browsers read what is written here
//! is shown by the tests of sessions.

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn session_keys_are_those_of_rfc_3711_appendix_b_3() {
    let master = Master {
        profile: SrtpProfile::AES128_CM_SHA1_80,
        key: &hex("E1F97A0D3E018BE0D64FA32C06DE4139"),
        salt: &hex("0EC675AD498AFEEBB6960B3AABE6"),
    };
    let mut key = [0; 16];
    master.stream(label::RTP_KEY, &mut key).unwrap();
    assert_eq!(key[..], hex("C61E7A93744F39EE10734AFE3FF7A087"));
    let mut salt = [0; 14];
    master.stream(label::RTP_SALT, &mut salt).unwrap();
    assert_eq!(salt[..], hex("30CBBC08863D8C85D49DB34A9AE1"));
    let mut auth = [0; 94];
    master.stream(label::RTP_AUTH, &mut auth).unwrap();
    assert_eq!(auth[..16], hex("CEBE321F6FF7716B6FD4AB49AF256A15"));
}

#[test]
fn a_packet_is_sealed_as_in_rfc_7714_section_16_1_1() {
    let header = hex("8040f17b 8041f8d3 5501a0b2");
    let payload =
        hex("47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070 61727465 73207472 6573");
    let key =
        LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &hex("00010203 04050607 08090a0b 0c0d0e0f")).unwrap());
    let sealer =
        RtpSealer(Keys::Gcm { cipher: key, salt: hex("51756964 2070726f 2071756f").try_into().unwrap() });
    let mut buffer = [&[9, 9][..], &header, &payload].concat();
    sealer.seal(&mut buffer, 2, 12, 0x5501_a0b2, 0xf17b).unwrap();
    assert_eq!(buffer[..2], [9, 9]);
    assert_eq!(buffer[2..14], header);
    assert_eq!(
        buffer[14..],
        hex("f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b 36de3adf 8833
             899d7f27 beb16a91 52cf765e e4390cce")
    );
}

const PROFILES: [SrtpProfile; 3] =
    [SrtpProfile::AEAD_AES_128_GCM, SrtpProfile::AEAD_AES_256_GCM, SrtpProfile::AES128_CM_SHA1_80];

fn pair(profile: SrtpProfile) -> (Srtp, Srtp) {
    let material: Vec<u8> = (0..92).collect();
    (Srtp::new(profile, &material, false).unwrap(), Srtp::new(profile, &material, true).unwrap())
}

#[test]
fn what_one_end_says_by_rtcp_the_other_reads_once() {
    for profile in PROFILES {
        let (mut server, mut client) = pair(profile);
        let report = [&[0x80, 201, 0, 1, 1, 2, 3, 4][..], &[7; 24]].concat();
        let first = client.rtcp.seal(report.clone()).unwrap();
        let second = client.rtcp.seal(report.clone()).unwrap();
        assert_ne!(first, second);
        // In the wrong order, and each a second time.
        assert_eq!(server.feedback.open(&second).unwrap(), report);
        assert_eq!(server.feedback.open(&first).unwrap(), report);
        assert!(server.feedback.open(&first).is_err(), "replayed");
        assert!(server.feedback.open(&second).is_err(), "replayed");
    }
}

#[test]
fn no_bit_of_an_rtcp_packet_can_be_changed_and_nothing_short_is_read() {
    for profile in PROFILES {
        let (mut server, mut client) = pair(profile);
        let good = client.rtcp.seal(vec![0x80, 201, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
        for bit in 0..good.len() * 8 {
            let mut forged = good.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(server.feedback.open(&forged).is_err(), "bit {bit}");
        }
        for end in 0..good.len() {
            assert!(server.feedback.open(&good[..end]).is_err(), "cut at {end}");
        }
        assert!(server.feedback.open(&good).is_ok(), "forgeries leave no trace");
    }
}

#[test]
fn too_little_key_material_is_refused() {
    assert!(Srtp::new(SrtpProfile::AEAD_AES_128_GCM, &[0; 55], false).is_err());
}

#[test]
fn old_indices_are_refused_and_the_window_slides() {
    let mut window = Window::default();
    assert!(window.first_time(100));
    assert!(window.first_time(37), "63 behind");
    assert!(!window.first_time(36), "64 behind");
    assert!(window.first_time(1_000));
    assert!(!window.first_time(100));
    assert!(window.first_time(999));
    assert!(!window.first_time(999));
}

#[test]
fn each_sender_counts_for_itself_and_there_are_not_endlessly_many() {
    let (mut server, _) = pair(SrtpProfile::AEAD_AES_128_GCM);
    for ssrc in 0..MAX_SENDERS as u32 {
        assert!(server.feedback.first_time(ssrc, 7));
        assert!(!server.feedback.first_time(ssrc, 7));
    }
    assert!(!server.feedback.first_time(99, 7));
}
