//! What a viewer needs of SRTP: to open RTP until the first keyframe was seen, and to protect its own RTCP.
//!
//! RFC 3711 (AES-CM with HMAC-SHA1-80) and RFC 7714 (AES-GCM), on the ciphers str0m brings along.

use crate::keying::Keying;
use crate::rtp::Header;
use str0m::crypto::dtls::SrtpProfile;
use str0m::crypto::{
    AeadAes128Gcm, AeadAes128GcmCipher, AeadAes256GcmCipher, Aes128CmSha1_80, Aes128CmSha1_80Cipher,
    CryptoProvider,
};

/// Length of an AES-GCM tag (RFC 7714 section 12).
const GCM_TAG: usize = 16;
/// Length of an HMAC-SHA1-80 tag (RFC 3711 section 5.2).
const SHA1_TAG: usize = 10;
/// The part of RTCP that stays readable: header and sender's SSRC (RFC 3711 section 3.4).
const RTCP_CLEAR: usize = 8;
/// Flag of an encrypted SRTCP packet, in the word that holds its index (RFC 3711 section 3.4).
const ENCRYPTED: u32 = 0x8000_0000;
/// str0m's counter mode wants room for one more block, less a byte.
const CM_SLACK: usize = 15;

/// Labels of key derivation (RFC 3711 sections 4.3.1 and 4.3.2).
mod label {
    pub(super) const RTP: [u8; 3] = [0, 1, 2];
    pub(super) const RTCP: [u8; 3] = [3, 4, 5];
}

/// Both directions of one viewer's session.
pub(crate) struct Srtp {
    theirs: Keys,
    ours: Keys,
    /// Index of the next SRTCP packet. There is one sender on our side, so one index.
    next_index: u32,
    crypto: CryptoProvider,
}

enum Keys {
    Cm { cipher: Box<dyn Aes128CmSha1_80Cipher>, auth: [u8; 20], salt: [u8; 14] },
    Gcm128 { cipher: Box<dyn AeadAes128GcmCipher>, salt: [u8; 12] },
    Gcm256 { cipher: Box<dyn AeadAes256GcmCipher>, salt: [u8; 12] },
}

/// The profile is none of those in WebRTC's use, or the handshake gave too little material.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("SRTP profile {0} cannot be used")]
pub(crate) struct UnusableProfile(String);

impl Srtp {
    /// The contexts of a finished handshake.
    pub(crate) fn new(keying: &Keying, crypto: CryptoProvider) -> Result<Self, UnusableProfile> {
        let unusable = || UnusableProfile(format!("{:?}", keying.profile));
        let (key_len, salt_len) = match keying.profile {
            SrtpProfile::AES128_CM_SHA1_80 => (16, 14),
            SrtpProfile::AEAD_AES_128_GCM => (16, 12),
            SrtpProfile::AEAD_AES_256_GCM => (32, 12),
            _ => return Err(unusable()),
        };
        if keying.material.len() < 2 * (key_len + salt_len) {
            return Err(unusable());
        }
        let (keys, salts) = keying.material.split_at(2 * key_len);
        let master = |second: bool| Master {
            key: &keys[usize::from(second) * key_len..][..key_len],
            salt: &salts[usize::from(second) * salt_len..][..salt_len],
            profile: keying.profile,
            crypto: &crypto,
        };
        let theirs = master(keying.client).keys(label::RTP, false);
        let ours = master(!keying.client).keys(label::RTCP, true);
        Ok(Self { theirs, ours, next_index: 1, crypto })
    }

    /// The payload of an RTP packet, without padding; `rollover` is the high part of its index. `None` when it is not authentic.
    pub(crate) fn open_rtp(&mut self, header: &Header, packet: &[u8], rollover: u32) -> Option<Vec<u8>> {
        let (clear, sealed) = packet.split_at_checked(header.length)?;
        let mut payload = vec![0; sealed.len() + CM_SLACK];
        let length = match &mut self.theirs {
            Keys::Gcm128 { cipher, salt } => {
                let length = sealed.len().checked_sub(GCM_TAG)?;
                let iv = AeadAes128Gcm::rtp_iv(*salt, header.ssrc, rollover, header.sequence);
                cipher.decrypt(&iv, &[clear], sealed, &mut payload).ok()?;
                length
            }
            Keys::Gcm256 { cipher, salt } => {
                let length = sealed.len().checked_sub(GCM_TAG)?;
                let iv = AeadAes128Gcm::rtp_iv(*salt, header.ssrc, rollover, header.sequence);
                cipher.decrypt(&iv, &[clear], sealed, &mut payload).ok()?;
                length
            }
            Keys::Cm { cipher, auth, salt } => {
                let length = sealed.len().checked_sub(SHA1_TAG)?;
                let index = u64::from(rollover) << 16 | u64::from(header.sequence);
                let (signed, tag) = packet.split_at(header.length + length);
                let hmac = |key: &[u8], parts: &[&[u8]]| self.crypto.sha1_hmac_provider.sha1_hmac(key, parts);
                if !Aes128CmSha1_80::rtp_verify(hmac, auth, signed, index, tag) {
                    return None;
                }
                let iv = Aes128CmSha1_80::rtp_iv(*salt, header.ssrc, index);
                cipher.decrypt(&iv, &sealed[..length], &mut payload).ok()?;
                length
            }
        };
        payload.truncate(length);
        if header.padded {
            let padding = usize::from(*payload.last()?);
            payload.truncate(length.checked_sub(padding)?);
        }
        Some(payload)
    }

    /// Protects a compound RTCP packet. `None` when the cipher refuses.
    pub(crate) fn seal_rtcp(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let (clear, plain) = packet.split_at_checked(RTCP_CLEAR)?;
        let ssrc = u32::from_be_bytes(clear[4..8].try_into().ok()?);
        let index = self.next_index;
        self.next_index += 1;
        let word = (index | ENCRYPTED).to_be_bytes();
        // RFC 7714 section 9.2: authenticated but not encrypted are the header and the index.
        let aad = [clear, &word].concat();
        let mut sealed = clear.to_vec();
        match &mut self.ours {
            Keys::Gcm128 { cipher, salt } => {
                sealed.resize(packet.len() + GCM_TAG, 0);
                let iv = AeadAes128Gcm::rtcp_iv(*salt, ssrc, index);
                cipher.encrypt(&iv, &aad, plain, &mut sealed[RTCP_CLEAR..]).ok()?;
                sealed.extend(word);
            }
            Keys::Gcm256 { cipher, salt } => {
                sealed.resize(packet.len() + GCM_TAG, 0);
                let iv = AeadAes128Gcm::rtcp_iv(*salt, ssrc, index);
                cipher.encrypt(&iv, &aad, plain, &mut sealed[RTCP_CLEAR..]).ok()?;
                sealed.extend(word);
            }
            Keys::Cm { cipher, auth, salt } => {
                sealed.resize(packet.len() + CM_SLACK, 0);
                let iv = Aes128CmSha1_80::rtp_iv(*salt, ssrc, u64::from(index));
                cipher.encrypt(&iv, plain, &mut sealed[RTCP_CLEAR..]).ok()?;
                sealed.truncate(packet.len());
                sealed.extend(word);
                let tag = self.crypto.sha1_hmac_provider.sha1_hmac(auth, &[&sealed]);
                sealed.extend_from_slice(&tag[..SHA1_TAG]);
            }
        }
        Some(sealed)
    }
}

struct Master<'a> {
    key: &'a [u8],
    salt: &'a [u8],
    profile: SrtpProfile,
    crypto: &'a CryptoProvider,
}

impl Master<'_> {
    /// RFC 3711 section 4.3.3: the key stream of AES-CM under the master key, from the salt with the label mixed in.
    fn derive<const N: usize>(&self, label: u8) -> [u8; N] {
        let mut counter = [0; 16];
        counter[..self.salt.len()].copy_from_slice(self.salt);
        counter[7] ^= label;
        let mut derived = [0; N];
        for (n, chunk) in derived.chunks_mut(16).enumerate() {
            counter[15] = n as u8;
            // Twice the block: some backends pad it.
            let mut block = [0; 32];
            if self.key.len() == 32 {
                self.crypto.srtp_provider.srtp_aes_256_ecb_round(self.key, &counter, &mut block);
            } else {
                self.crypto.srtp_provider.srtp_aes_128_ecb_round(self.key, &counter, &mut block);
            }
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
        derived
    }

    fn keys(&self, [key, auth, salt]: [u8; 3], encrypt: bool) -> Keys {
        let srtp = self.crypto.srtp_provider;
        match self.profile {
            SrtpProfile::AEAD_AES_256_GCM => Keys::Gcm256 {
                cipher: srtp.aead_aes_256_gcm().create_cipher(self.derive(key), encrypt),
                salt: self.derive(salt),
            },
            SrtpProfile::AEAD_AES_128_GCM => Keys::Gcm128 {
                cipher: srtp.aead_aes_128_gcm().create_cipher(self.derive(key), encrypt),
                salt: self.derive(salt),
            },
            // `Srtp::new` lets no other profile through.
            _ => Keys::Cm {
                cipher: srtp.aes_128_cm_sha1_80().create_cipher(self.derive(key), encrypt),
                auth: self.derive(auth),
                salt: self.derive(salt),
            },
        }
    }
}

impl std::fmt::Debug for Srtp {
    /// Keys are no business of a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Srtp").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key derivation test vectors of RFC 3711 appendix B.3.
    #[test]
    fn keys_are_derived_as_in_the_rfc() {
        let key =
            [0xE1, 0xF9, 0x7A, 0x0D, 0x3E, 0x01, 0x8B, 0xE0, 0xD6, 0x4F, 0xA3, 0x2C, 0x06, 0xDE, 0x41, 0x39];
        let salt = [0x0E, 0xC6, 0x75, 0xAD, 0x49, 0x8A, 0xFE, 0xEB, 0xB6, 0x96, 0x0B, 0x3A, 0xAB, 0xE6];
        let crypto = str0m::crypto::from_feature_flags();
        let master =
            Master { key: &key, salt: &salt, profile: SrtpProfile::AES128_CM_SHA1_80, crypto: &crypto };
        assert_eq!(
            master.derive::<16>(0),
            [0xC6, 0x1E, 0x7A, 0x93, 0x74, 0x4F, 0x39, 0xEE, 0x10, 0x73, 0x4A, 0xFE, 0x3F, 0xF7, 0xA0, 0x87]
        );
        assert_eq!(
            master.derive::<14>(2),
            [0x30, 0xCB, 0xBC, 0x08, 0x86, 0x3D, 0x8C, 0x85, 0xD4, 0x9D, 0xB3, 0x4A, 0x9A, 0xE1]
        );
        assert_eq!(master.derive::<20>(1)[..4], [0xCE, 0xBE, 0x32, 0x1F]);
    }

    #[test]
    fn what_is_no_srtp_is_not_opened() {
        for (profile, length) in [(SrtpProfile::AES128_CM_SHA1_80, 60), (SrtpProfile::AEAD_AES_256_GCM, 88)] {
            let keying = Keying { profile, material: vec![7; length], client: true };
            let mut srtp = Srtp::new(&keying, str0m::crypto::from_feature_flags()).unwrap();
            let mut packet = vec![0x80, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
            for _ in 0..40 {
                let header = Header::read(&packet).unwrap();
                assert_eq!(srtp.open_rtp(&header, &packet, 0), None);
                packet.push(1);
            }
            let short = Keying { profile, material: vec![7; length - 1], client: true };
            assert!(Srtp::new(&short, str0m::crypto::from_feature_flags()).is_err());
        }
    }
}
