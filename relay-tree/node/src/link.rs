//! The secured way to a viewer: ICE-lite, DTLS and SRTP, with no media in it.
//!
//! Sans-IO: datagrams in by [`Link::handle_datagram`], datagrams out into the caller's list, each with its path. Publishers' sessions
//! have str0m for this; a viewer's is kept small, because there may be thousands.

use crate::ice::{Check, IceLite};
use crate::peer::{Destination, Outgoing};
use crate::socket::Path;
use crate::srtp::Srtp;
use std::sync::Arc;
use std::time::{Duration, Instant};
use str0m::IceCreds;
use str0m::config::{CryptoProvider, DtlsCert};
use str0m::crypto::dtls::{DtlsInstance, DtlsOutput, DtlsVersion, KeyingMaterial, SrtpProfile};

/// Room for one DTLS output: a datagram, or a peer's certificate.
const DTLS_BUFFER: usize = 8_192;
/// How long after the handshake its last flight may still have to be repeated. Then the association's memory is given back:
/// a viewer that leaves later without DELETE is noticed by its silence.
const HANDSHAKE_MEMORY: Duration = Duration::from_secs(15);

/// What a datagram was.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// None of STUN, DTLS and RTP.
    Malformed,
    /// STUN that is forged, stale or malformed.
    RefusedCheck,
    /// STUN that was answered: the path is the peer's.
    Checked,
    /// RTCP, decrypted.
    Rtcp(Vec<u8>),
    /// RTCP that is forged, damaged or repeated.
    Forged,
    /// Handled, or of no interest.
    Nothing,
}

/// One viewer's way.
pub(crate) struct Link {
    pub(crate) ice: IceLite,
    dtls: Option<Box<dyn DtlsInstance>>,
    /// SHA-256 of the certificate that the offer announced.
    fingerprint: [u8; 32],
    verified: bool,
    keys: Option<(KeyingMaterial, SrtpProfile)>,
    srtp: Option<Box<Srtp>>,
    dtls_due: Instant,
    forget_dtls: Option<Instant>,
    fault: Option<String>,
    closed: bool,
}

/// What a link begins with.
pub(crate) struct LinkOpening<'a> {
    pub(crate) crypto: &'a Arc<CryptoProvider>,
    pub(crate) certificate: &'a DtlsCert,
    pub(crate) local: IceCreds,
    pub(crate) remote_ufrag: String,
    pub(crate) fingerprint: [u8; 32],
    pub(crate) now: Instant,
}

impl Link {
    /// A link that waits for its peer's first check; it is the DTLS server.
    ///
    /// # Errors
    ///
    /// When the DTLS engine cannot be made, in words for the log.
    pub(crate) fn new(opening: LinkOpening<'_>) -> Result<Self, String> {
        let LinkOpening { crypto, certificate, local, remote_ufrag, fingerprint, now } = opening;
        let mut dtls = crypto
            .dtls_provider
            .new_dtls(certificate, now, DtlsVersion::Dtls12, None)
            .map_err(|e| e.to_string())?;
        dtls.set_active(false);
        Ok(Self {
            ice: IceLite::new(Arc::clone(crypto), local, remote_ufrag, now),
            dtls: Some(dtls),
            fingerprint,
            verified: false,
            keys: None,
            srtp: None,
            dtls_due: now,
            forget_dtls: None,
            fault: None,
            closed: false,
        })
    }

    /// Where media goes, and how it is protected, once the link is up.
    pub(crate) fn media(&self) -> Option<(Path, &Srtp)> {
        self.ice.selected().zip(self.srtp.as_deref())
    }

    /// Whether ICE and DTLS are done.
    pub(crate) const fn is_up(&self) -> bool {
        self.srtp.is_some() && self.ice.selected().is_some()
    }

    /// Why the link cannot go on.
    pub(crate) fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Whether the peer has closed it.
    pub(crate) const fn is_closed(&self) -> bool {
        self.closed
    }

    /// When [`Link::handle_timeout`] is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        let shaking = (self.srtp.is_none() && self.dtls.is_some()).then_some(self.dtls_due);
        [shaking, self.forget_dtls].into_iter().flatten().min()
    }

    /// Takes a datagram that came by `path`.
    pub(crate) fn handle_datagram(
        &mut self,
        datagram: &[u8],
        path: Path,
        now: Instant,
        out: &mut Vec<Outgoing>,
    ) -> Arrival {
        // RFC 7983 section 7.
        match datagram.first() {
            Some(0..=3) => match self.ice.handle_check(datagram, path, now) {
                Check::Answer(answer) => {
                    out.push(Outgoing { to: Destination::Path(path), contents: answer.into() });
                    Arrival::Checked
                }
                Check::Refused => Arrival::RefusedCheck,
                Check::Ignored => Arrival::Nothing,
            },
            Some(20..=63) => {
                self.shake(Some(datagram), path, now, out);
                Arrival::Nothing
            }
            Some(128..=191) => self.open(datagram, path, now),
            _ => Arrival::Malformed,
        }
    }

    /// Lets time pass.
    pub(crate) fn handle_timeout(&mut self, now: Instant, out: &mut Vec<Outgoing>) {
        if self.forget_dtls.is_some_and(|at| now >= at) {
            self.forget_dtls = None;
            self.dtls = None;
        }
        if self.srtp.is_none()
            && now >= self.dtls_due
            && let Some(path) = self.ice.selected()
        {
            self.shake(None, path, now, out);
        } else if self.srtp.is_none() && now >= self.dtls_due {
            // Nobody to repeat anything to; the next check brings a path.
            self.dtls_due = now + HANDSHAKE_MEMORY;
        }
    }

    /// Protects a compound RTCP packet and sends it.
    pub(crate) fn send_rtcp(&mut self, compound: Vec<u8>, out: &mut Vec<Outgoing>) {
        let (Some(path), Some(srtp)) = (self.ice.selected(), &mut self.srtp) else { return };
        if let Ok(sealed) = srtp.rtcp.seal(compound) {
            out.push(Outgoing { to: Destination::Path(path), contents: sealed.into() });
        }
    }

    /// Says good-bye by close_notify, while there still is an association.
    pub(crate) fn close(&mut self, now: Instant, out: &mut Vec<Outgoing>) {
        if let (Some(dtls), Some(path)) = (&mut self.dtls, self.ice.selected())
            && dtls.close().is_ok()
        {
            self.drain(path, now, out);
        }
        self.closed = true;
    }

    fn open(&mut self, datagram: &[u8], path: Path, now: Instant) -> Arrival {
        // RFC 5761 section 4: these second bytes are RTCP; a viewer sends no RTP.
        let Some(srtp) = &mut self.srtp else { return Arrival::Nothing };
        if !matches!(datagram.get(1), Some(192..=223)) {
            return Arrival::Nothing;
        }
        match srtp.feedback.open(datagram) {
            Ok(compound) => {
                self.ice.handle_media(path, now);
                Arrival::Rtcp(compound)
            }
            Err(_) => Arrival::Forged,
        }
    }

    fn shake(&mut self, datagram: Option<&[u8]>, path: Path, now: Instant, out: &mut Vec<Outgoing>) {
        let Some(dtls) = &mut self.dtls else { return };
        let step = match datagram {
            Some(datagram) => dtls.handle_packet(datagram),
            None => dtls.handle_timeout(now),
        };
        self.drain(path, now, out);
        if let Err(error) = step
            && !self.closed
        {
            self.fault = Some(format!("DTLS: {error}"));
        }
    }

    fn drain(&mut self, path: Path, now: Instant, out: &mut Vec<Outgoing>) {
        let mut buffer = [0; DTLS_BUFFER];
        while let Some(dtls) = &mut self.dtls {
            match dtls.poll_output(&mut buffer) {
                DtlsOutput::Packet(packet) => {
                    out.push(Outgoing { to: Destination::Path(path), contents: packet.to_vec().into() });
                }
                DtlsOutput::PeerCert(certificate) => {
                    self.verified = openssl::sha::sha256(certificate) == self.fingerprint;
                    if !self.verified {
                        self.fault = Some("the certificate is not the one in the offer".to_owned());
                    }
                }
                DtlsOutput::KeyingMaterial(keys, profile) => self.keys = Some((keys, profile)),
                DtlsOutput::CloseNotify => self.closed = true,
                DtlsOutput::BufferTooSmall { .. } => {
                    self.fault = Some("the certificate is larger than any honest one".to_owned());
                    break;
                }
                DtlsOutput::Timeout(at) => {
                    self.dtls_due = at;
                    break;
                }
                _ => {}
            }
        }
        if self.verified
            && let Some((keys, profile)) = self.keys.take()
        {
            match Srtp::new(profile, &keys, false) {
                Ok(srtp) => {
                    self.srtp = Some(Box::new(srtp));
                    self.forget_dtls = Some(now + HANDSHAKE_MEMORY);
                }
                Err(_) => self.fault = Some("no SRTP keys came out of the handshake".to_owned()),
            }
        }
    }
}
