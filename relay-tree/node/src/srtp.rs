//! SRTP and SRTCP of a viewer's session: keys from the DTLS handshake, packets protected in place.
//!
//! What belongs here: RFC 3711 (AES-CM with HMAC-SHA1-80) and RFC 7714 (AES-GCM), in the directions a viewer's session needs: RTP out,
//! RTCP out and in. Publishers' sessions use str0m's. Ciphers and hashes are aws-lc-rs's.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use str0m::crypto::dtls::SrtpProfile;

/// Most that protection adds to a packet: the tag of AES-GCM and the index of SRTCP.
pub(crate) const MAX_OVERHEAD: usize = 16 + 4;
/// Length of an AES-GCM tag (RFC 7714 section 12).
const GCM_TAG: usize = 16;
/// Length of an HMAC-SHA1-80 tag (RFC 3711 section 5.2).
const SHA1_TAG: usize = 10;
/// The part of RTCP that stays readable: header and sender's SSRC (RFC 3711 section 3.4).
const RTCP_CLEAR: usize = 8;
/// Flag of an encrypted SRTCP packet, in the word that holds its index (RFC 3711 section 3.4).
const ENCRYPTED: u32 = 0x8000_0000;
/// How far an SRTCP packet may be late (RFC 3711 section 3.3.2 wants at least 64).
const REPLAY_WINDOW: u32 = 64;

/// Labels of key derivation (RFC 3711 section 4.3.1 and 4.3.2).
mod label {
    pub(super) const RTP_KEY: u8 = 0;
    pub(super) const RTP_AUTH: u8 = 1;
    pub(super) const RTP_SALT: u8 = 2;
    pub(super) const RTCP_KEY: u8 = 3;
    pub(super) const RTCP_AUTH: u8 = 4;
    pub(super) const RTCP_SALT: u8 = 5;
}

/// The three contexts of one viewer's session.
pub(crate) struct Srtp {
    pub(crate) rtp: RtpSealer,
    pub(crate) rtcp: RtcpSealer,
    pub(crate) feedback: RtcpOpener,
}

impl Srtp {
    /// Contexts from what the handshake exported (RFC 5764 section 4.2): both master keys, then both salts, the client's first.
    /// `client` says which side of the handshake this is.
    ///
    /// # Errors
    ///
    /// When there is too little material or the profile is none of ours.
    pub(crate) fn new(profile: SrtpProfile, material: &[u8], client: bool) -> Result<Self, Unspecified> {
        let (key_len, salt_len) = match profile {
            SrtpProfile::AES128_CM_SHA1_80 => (16, 14),
            SrtpProfile::AEAD_AES_128_GCM => (16, 12),
            SrtpProfile::AEAD_AES_256_GCM => (32, 12),
            _ => return Err(Unspecified),
        };
        if material.len() < 2 * (key_len + salt_len) {
            return Err(Unspecified);
        }
        let (keys, salts) = material.split_at(2 * key_len);
        let master = |second: bool| {
            let (k, s) = (usize::from(second) * key_len, usize::from(second) * salt_len);
            Master { profile, key: &keys[k..k + key_len], salt: &salts[s..s + salt_len] }
        };
        let (ours, theirs) = (master(!client), master(client));
        Ok(Self {
            rtp: RtpSealer(ours.derive(label::RTP_KEY, label::RTP_AUTH, label::RTP_SALT)?),
            rtcp: RtcpSealer {
                keys: ours.derive(label::RTCP_KEY, label::RTCP_AUTH, label::RTCP_SALT)?,
                index: 0,
            },
            feedback: RtcpOpener {
                keys: theirs.derive(label::RTCP_KEY, label::RTCP_AUTH, label::RTCP_SALT)?,
                windows: Vec::new(),
            },
        })
    }
}

struct Master<'a> {
    profile: SrtpProfile,
    key: &'a [u8],
    salt: &'a [u8],
}

impl Master<'_> {
    /// RFC 3711 section 4.3.3: the key stream of AES-CM under the master key, from the salt with the label mixed in.
    fn stream(&self, label: u8, out: &mut [u8]) -> Result<(), Unspecified> {
        let mut iv = [0; 16];
        iv[..self.salt.len()].copy_from_slice(self.salt);
        iv[7] ^= label;
        out.fill(0);
        counter_mode(self.key)?.less_safe_encrypt(out, EncryptionContext::Iv128(FixedLength::from(iv)))?;
        Ok(())
    }

    fn derive(&self, key: u8, auth: u8, salt: u8) -> Result<Keys, Unspecified> {
        let mut session_key = vec![0; self.key.len()];
        self.stream(key, &mut session_key)?;
        if self.profile == SrtpProfile::AES128_CM_SHA1_80 {
            let (mut session_auth, mut session_salt) = ([0; 20], [0; 14]);
            self.stream(auth, &mut session_auth)?;
            self.stream(salt, &mut session_salt)?;
            return Ok(Keys::Cm(Box::new(CmKeys {
                cipher: counter_mode(&session_key)?,
                auth: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &session_auth),
                salt: session_salt,
            })));
        }
        let mut session_salt = [0; 12];
        self.stream(salt, &mut session_salt)?;
        let algorithm = if session_key.len() == 32 { &AES_256_GCM } else { &AES_128_GCM };
        Ok(Keys::Gcm {
            cipher: LessSafeKey::new(UnboundKey::new(algorithm, &session_key)?),
            salt: session_salt,
        })
    }
}

fn counter_mode(key: &[u8]) -> Result<EncryptingKey, Unspecified> {
    let algorithm = if key.len() == 32 { &AES_256 } else { &AES_128 };
    EncryptingKey::ctr(UnboundCipherKey::new(algorithm, key)?)
}

/// Session keys of one direction.
enum Keys {
    // Boxed, because it is large and rare: browsers agree on AES-GCM.
    Cm(Box<CmKeys>),
    Gcm { cipher: LessSafeKey, salt: [u8; 12] },
}

struct CmKeys {
    cipher: EncryptingKey,
    auth: hmac::Key,
    salt: [u8; 14],
}

impl Keys {
    /// The IV of AES-CM (RFC 3711 section 4.1.1).
    fn cm_iv(salt: &[u8; 14], ssrc: u32, index: u64) -> EncryptionContext {
        let mut iv = [0; 16];
        iv[..14].copy_from_slice(salt);
        for (slot, byte) in iv[4..8].iter_mut().zip(ssrc.to_be_bytes()) {
            *slot ^= byte;
        }
        for (slot, byte) in iv[8..14].iter_mut().zip(&index.to_be_bytes()[2..]) {
            *slot ^= byte;
        }
        EncryptionContext::Iv128(FixedLength::from(iv))
    }

    /// The nonce of AES-GCM: for RTP the index is ROC and sequence number (RFC 7714 section 8.1), for RTCP the SRTCP index
    /// (section 9.1).
    fn gcm_nonce(salt: &[u8; 12], ssrc: u32, index: u64) -> Nonce {
        let mut iv = *salt;
        for (slot, byte) in iv[2..6].iter_mut().zip(ssrc.to_be_bytes()) {
            *slot ^= byte;
        }
        for (slot, byte) in iv[6..12].iter_mut().zip(&index.to_be_bytes()[2..]) {
            *slot ^= byte;
        }
        Nonce::assume_unique_for_key(iv)
    }
}

/// Protects RTP.
pub(crate) struct RtpSealer(Keys);

impl RtpSealer {
    /// Protects the packet at the end of `buffer`, from `start` on, and appends its tag. `header` is the length of its RTP header with
    /// extensions, `index` its extended sequence number (ROC << 16 | SEQ).
    ///
    /// A pair of SSRC and index must never be used twice: the caller's sequence numbers only grow.
    pub(crate) fn seal(
        &self,
        buffer: &mut Vec<u8>,
        start: usize,
        header: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<(), Unspecified> {
        let (clear, payload) = buffer[start..].split_at_mut(header);
        match &self.0 {
            Keys::Gcm { cipher, salt } => {
                let nonce = Keys::gcm_nonce(salt, ssrc, index);
                let tag = cipher.seal_in_place_separate_tag(nonce, Aad::from(&*clear), payload)?;
                buffer.extend_from_slice(tag.as_ref());
            }
            Keys::Cm(keys) => {
                let CmKeys { cipher, auth, salt } = &**keys;
                cipher.less_safe_encrypt(payload, Keys::cm_iv(salt, ssrc, index))?;
                let mut tag = hmac::Context::with_key(auth);
                tag.update(&buffer[start..]);
                // RFC 3711 section 4.2: the rollover counter is authenticated, too.
                tag.update(&((index >> 16) as u32).to_be_bytes());
                buffer.extend_from_slice(&tag.sign().as_ref()[..SHA1_TAG]);
            }
        }
        Ok(())
    }
}

/// Protects RTCP.
pub(crate) struct RtcpSealer {
    keys: Keys,
    index: u32,
}

impl RtcpSealer {
    /// Protects a whole compound packet.
    pub(crate) fn seal(&mut self, mut packet: Vec<u8>) -> Result<Vec<u8>, Unspecified> {
        if packet.len() < RTCP_CLEAR || self.index >= ENCRYPTED - 1 {
            return Err(Unspecified);
        }
        self.index += 1;
        let ssrc = ssrc_of(&packet);
        let word = (self.index | ENCRYPTED).to_be_bytes();
        let (clear, payload) = packet.split_at_mut(RTCP_CLEAR);
        match &self.keys {
            Keys::Gcm { cipher, salt } => {
                // RFC 7714 section 9.2: what is authenticated but not encrypted is the header and the index.
                let mut aad = [0; RTCP_CLEAR + 4];
                aad[..RTCP_CLEAR].copy_from_slice(clear);
                aad[RTCP_CLEAR..].copy_from_slice(&word);
                let nonce = Keys::gcm_nonce(salt, ssrc, u64::from(self.index));
                let tag = cipher.seal_in_place_separate_tag(nonce, Aad::from(&aad), payload)?;
                packet.extend_from_slice(tag.as_ref());
                packet.extend_from_slice(&word);
            }
            Keys::Cm(keys) => {
                let CmKeys { cipher, auth, salt } = &**keys;
                cipher.less_safe_encrypt(payload, Keys::cm_iv(salt, ssrc, u64::from(self.index)))?;
                packet.extend_from_slice(&word);
                let tag = hmac::sign(auth, &packet);
                packet.extend_from_slice(&tag.as_ref()[..SHA1_TAG]);
            }
        }
        Ok(packet)
    }
}

/// Opens the peer's RTCP.
pub(crate) struct RtcpOpener {
    keys: Keys,
    /// Each sender counts for itself (RFC 3711 section 3.2.3: a context is found by its SSRC); a browser has one for each lane.
    windows: Vec<(u32, Window)>,
}

/// Senders of RTCP in one session; packets of more are refused.
const MAX_SENDERS: usize = 16;

/// Which packets of one sender were seen.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    /// The highest index, and which of those before it (bit 0 is `newest` itself).
    newest: u32,
    seen: u64,
}

impl RtcpOpener {
    /// The compound packet inside, or an error for one that is forged, damaged or repeated.
    pub(crate) fn open(&mut self, datagram: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let (packet, index) = match &self.keys {
            Keys::Gcm { cipher, salt } => {
                let body = datagram.len().checked_sub(RTCP_CLEAR + GCM_TAG + 4).ok_or(Unspecified)?;
                let (sealed, word) = datagram.split_at(RTCP_CLEAR + body + GCM_TAG);
                let index = encrypted_index(word)?;
                let mut aad = [0; RTCP_CLEAR + 4];
                aad[..RTCP_CLEAR].copy_from_slice(&sealed[..RTCP_CLEAR]);
                aad[RTCP_CLEAR..].copy_from_slice(word);
                let nonce = Keys::gcm_nonce(salt, ssrc_of(sealed), u64::from(index));
                let mut payload = sealed[RTCP_CLEAR..].to_vec();
                let opened = cipher.open_in_place(nonce, Aad::from(&aad), &mut payload)?;
                let mut packet = sealed[..RTCP_CLEAR].to_vec();
                packet.extend_from_slice(opened);
                (packet, index)
            }
            Keys::Cm(keys) => {
                let CmKeys { cipher, auth, salt } = &**keys;
                let body = datagram.len().checked_sub(RTCP_CLEAR + 4 + SHA1_TAG).ok_or(Unspecified)?;
                let (signed, tag) = datagram.split_at(RTCP_CLEAR + body + 4);
                let whole = hmac::sign(auth, signed);
                aws_lc_rs::constant_time::verify_slices_are_equal(&whole.as_ref()[..SHA1_TAG], tag)?;
                let (sealed, word) = signed.split_at(RTCP_CLEAR + body);
                let index = encrypted_index(word)?;
                let mut packet = sealed.to_vec();
                let iv = Keys::cm_iv(salt, ssrc_of(sealed), u64::from(index));
                // Counter mode is its own inverse.
                cipher.less_safe_encrypt(&mut packet[RTCP_CLEAR..], iv)?;
                (packet, index)
            }
        };
        self.first_time(ssrc_of(&packet), index).then_some(packet).ok_or(Unspecified)
    }

    /// Notes an authentic index; false when it was seen before or is too old to tell.
    fn first_time(&mut self, ssrc: u32, index: u32) -> bool {
        if let Some((_, window)) = self.windows.iter_mut().find(|(known, _)| *known == ssrc) {
            return window.first_time(index);
        }
        if self.windows.len() >= MAX_SENDERS {
            return false;
        }
        let mut window = Window::default();
        window.first_time(index);
        self.windows.push((ssrc, window));
        true
    }
}

impl Window {
    fn first_time(&mut self, index: u32) -> bool {
        if self.seen == 0 || index > self.newest {
            let ahead = if self.seen == 0 { REPLAY_WINDOW } else { index - self.newest };
            self.seen = if ahead >= REPLAY_WINDOW { 1 } else { self.seen << ahead | 1 };
            self.newest = index;
            return true;
        }
        let behind = self.newest - index;
        if behind >= REPLAY_WINDOW || self.seen >> behind & 1 == 1 {
            return false;
        }
        self.seen |= 1 << behind;
        true
    }
}

/// The index of an SRTCP packet; unencrypted ones (RFC 3711 section 3.4 allows them) are not for WebRTC.
fn encrypted_index(word: &[u8]) -> Result<u32, Unspecified> {
    let word = u32::from_be_bytes(word.try_into().map_err(|_| Unspecified)?);
    if word & ENCRYPTED == 0 { Err(Unspecified) } else { Ok(word & !ENCRYPTED) }
}

fn ssrc_of(rtcp: &[u8]) -> u32 {
    rtcp.get(4..8).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes)
}

impl std::fmt::Debug for Srtp {
    /// Keys are no business of a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Srtp").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
