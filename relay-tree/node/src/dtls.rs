//! DTLS for str0m by OpenSSL: peers with RSA certificates (webrtcbin's default, some encoders') as well as ECDSA.
//!
//! Why not str0m's own OpenSSL backend: this one prefers AEAD_AES_128_GCM (the cheapest profile, see limits.md), shares one
//! `SslContext` over all sessions, keeps datagram borders (a record never meets the next one's bytes), retransmits lost flights by
//! the clock in both roles, and drops application data, since nothing here negotiates a data channel. It is also where an own
//! send path will get its SRTP keys from.

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::ssl::{
    ErrorCode, HandshakeError, MidHandshakeSslStream, ShutdownState, Ssl, SslContext, SslMethod, SslOptions,
    SslStream, SslVerifyMode,
};
use openssl::x509::{X509, X509NameBuilder};
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, KeyingMaterial,
    ProtocolVersion, SrtpProfile,
};
use str0m::crypto::{CryptoError, CryptoProvider};

/// In order of preference. GCM with 128 bits costs least; SHA1-80 is what every WebRTC client has (RFC 8827 section 6.5).
const PROFILES: [(&str, SrtpProfile); 3] = [
    ("SRTP_AEAD_AES_128_GCM", SrtpProfile::AEAD_AES_128_GCM),
    ("SRTP_AEAD_AES_256_GCM", SrtpProfile::AEAD_AES_256_GCM),
    ("SRTP_AES128_CM_SHA1_80", SrtpProfile::AES128_CM_SHA1_80),
];
/// RFC 5764 section 4.2.
const EXPORTER_LABEL: &str = "EXTRACTOR-dtls_srtp";
/// Forward secrecy and AEAD first (RFC 8827 section 6.5); CBC only for what knows nothing else.
const CIPHERS: &str = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES";
/// How often an unfinished handshake is looked at. OpenSSL keeps the retransmission timer itself (RFC 6347 section 4.2.4: 1 s,
/// doubling); this only bounds how late it is noticed.
const RETRY: Duration = Duration::from_millis(250);
/// Datagrams above this are no honest DTLS: a record over UDP fits into one Ethernet frame.
const MAX_DATAGRAM: usize = 2_048;
/// Handshake fragments stay below this; IPv6's minimum link less headers.
const MTU: usize = 1_200;
/// A certificate is valid for so many days; a process that runs longer restarts its node first.
const CERTIFICATE_DAYS: u32 = 3_650;

/// DTLS by OpenSSL, everything else (SRTP, HMAC, SHA-256) by aws-lc-rs, which is cheaper per packet.
pub(crate) fn crypto_provider() -> CryptoProvider {
    static DTLS: OpenSslDtls = OpenSslDtls;
    CryptoProvider { dtls_provider: &DTLS, ..str0m::crypto::from_feature_flags() }
}

/// A self-signed ECDSA P-256 certificate, as RFC 8827 section 6.5 wants every endpoint to have.
pub(crate) fn make_certificate() -> Result<DtlsCert, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
    let mut name = X509NameBuilder::new()?;
    name.append_entry_by_nid(Nid::COMMONNAME, "WebRTC")?;
    let name = name.build();
    let mut serial = BigNum::new()?;
    serial.rand(127, MsbOption::MAYBE_ZERO, false)?;
    let mut certificate = X509::builder()?;
    certificate.set_version(2)?;
    certificate.set_serial_number(&*serial.to_asn1_integer()?)?;
    certificate.set_subject_name(&name)?;
    certificate.set_issuer_name(&name)?;
    certificate.set_not_before(&*Asn1Time::days_from_now(0)?)?;
    certificate.set_not_after(&*Asn1Time::days_from_now(CERTIFICATE_DAYS)?)?;
    certificate.set_pubkey(&key)?;
    certificate.sign(&key, MessageDigest::sha256())?;
    Ok(DtlsCert { certificate: certificate.build().to_der()?, private_key: key.private_key_to_der()? })
}

/// The last context made, and the certificate it is for: one per process in practice.
static CONTEXT: Mutex<Option<(Vec<u8>, SslContext)>> = Mutex::new(None);

fn context_for(cert: &DtlsCert) -> Result<SslContext, ErrorStack> {
    let mut cached = CONTEXT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some((der, context)) = &*cached
        && *der == cert.certificate
    {
        return Ok(context.clone());
    }
    let mut builder = SslContext::builder(SslMethod::dtls())?;
    builder.set_cipher_list(CIPHERS)?;
    builder.set_tlsext_use_srtp(&PROFILES.map(|(name, _)| name).join(":"))?;
    // Any certificate is taken here; str0m compares it with the fingerprint of the offer (RFC 5763 section 5).
    builder.set_verify_callback(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT, |_, _| true);
    builder.set_private_key(&*PKey::private_key_from_der(&cert.private_key)?)?;
    builder.set_certificate(&*X509::from_der(&cert.certificate)?)?;
    builder.set_options(SslOptions::NO_DTLSV1 | SslOptions::NO_QUERY_MTU | SslOptions::NO_RENEGOTIATION);
    let context = builder.build();
    *cached = Some((cert.certificate.clone(), context.clone()));
    Ok(context)
}

#[derive(Debug)]
struct OpenSslDtls;

impl DtlsProvider for OpenSslDtls {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        make_certificate().ok()
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        if version != DtlsVersion::Dtls12 {
            return Err(CryptoError::Other(format!("OpenSSL speaks DTLS 1.2, not {version}")));
        }
        let new_ssl = || {
            let mut ssl = Ssl::new(&*context_for(cert)?)?;
            ssl.set_mtu(u32::try_from(mtu.unwrap_or(MTU)).unwrap_or(1_200))?;
            Ok(ssl)
        };
        let ssl = new_ssl().map_err(|e: ErrorStack| CryptoError::Other(e.to_string()))?;
        Ok(Box::new(Handshake::new(ssl, now)))
    }
}

/// The datagrams between OpenSSL and str0m: each `read` and each `write` is one.
#[derive(Debug, Default)]
struct Wire {
    incoming: VecDeque<Vec<u8>>,
    outgoing: VecDeque<Vec<u8>>,
}

impl Read for Wire {
    /// One datagram; what does not fit is cut off, as by a UDP socket.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let datagram = self.incoming.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        let n = datagram.len().min(buf.len());
        buf[..n].copy_from_slice(&datagram[..n]);
        Ok(n)
    }
}

impl Write for Wire {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.outgoing.push_back(buf.to_vec());
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Stage {
    Fresh(Ssl),
    Shaking(MidHandshakeSslStream<Wire>),
    Established(SslStream<Wire>),
    Dead,
}

/// One association: the handshake, the keys that come out of it, and its end.
struct Handshake {
    stage: Stage,
    /// Datagrams to send before there is a stream to hold them, or after it died.
    outgoing: VecDeque<Vec<u8>>,
    active: bool,
    /// What the end of the handshake has to tell, in this order.
    connected: bool,
    peer_certificate: Option<Vec<u8>>,
    keys: Option<(Vec<u8>, SrtpProfile)>,
    close_notify: bool,
    closed: bool,
    retry_at: Instant,
}

// OpenSSL's objects are not observed after a panic: the session that held them is dropped.
impl UnwindSafe for Handshake {}
impl RefUnwindSafe for Handshake {}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.stage {
            Stage::Fresh(_) => "fresh",
            Stage::Shaking(_) => "shaking",
            Stage::Established(_) => "established",
            Stage::Dead => "dead",
        };
        f.debug_struct("Handshake")
            .field("stage", &stage)
            .field("active", &self.active)
            .finish_non_exhaustive()
    }
}

impl Handshake {
    fn new(ssl: Ssl, now: Instant) -> Self {
        Self {
            stage: Stage::Fresh(ssl),
            outgoing: VecDeque::new(),
            active: false,
            connected: false,
            peer_certificate: None,
            keys: None,
            close_notify: false,
            closed: false,
            retry_at: now + RETRY,
        }
    }

    const fn in_progress(&self) -> bool {
        matches!(self.stage, Stage::Fresh(_) | Stage::Shaking(_))
    }

    /// Gives OpenSSL a datagram (or only the time) and takes what it has to send.
    fn advance(&mut self, datagram: Option<&[u8]>) -> Result<(), DtlsImplError> {
        let datagram = datagram.map(<[u8]>::to_vec);
        let result = match std::mem::replace(&mut self.stage, Stage::Dead) {
            Stage::Fresh(ssl) => {
                let mut wire = Wire::default();
                wire.incoming.extend(datagram);
                let result = if self.active { ssl.connect(wire) } else { ssl.accept(wire) };
                self.after_step(result)
            }
            Stage::Shaking(mut stream) => {
                stream.get_mut().incoming.extend(datagram);
                let result = stream.handshake();
                self.after_step(result)
            }
            Stage::Established(mut stream) => {
                stream.get_mut().incoming.extend(datagram);
                let result = self.read_records(&mut stream);
                self.outgoing.append(&mut stream.get_mut().outgoing);
                self.stage = Stage::Established(stream);
                result
            }
            Stage::Dead => Err("the association is dead".to_owned()),
        };
        result.map_err(|reason| {
            tracing::debug!(%reason, "DTLS failed");
            self.stage = Stage::Dead;
            DtlsImplError::ConnectionClosed
        })
    }

    fn after_step(&mut self, result: Result<SslStream<Wire>, HandshakeError<Wire>>) -> Result<(), String> {
        match result {
            Ok(mut stream) => {
                self.outgoing.append(&mut stream.get_mut().outgoing);
                self.take_keys(&stream)?;
                self.connected = true;
                let rest = self.read_records(&mut stream);
                self.outgoing.append(&mut stream.get_mut().outgoing);
                self.stage = Stage::Established(stream);
                rest
            }
            Err(HandshakeError::WouldBlock(mut stream)) => {
                self.outgoing.append(&mut stream.get_mut().outgoing);
                self.stage = Stage::Shaking(stream);
                Ok(())
            }
            Err(HandshakeError::Failure(mut stream)) => {
                // What is left to send is the alert that says why.
                self.outgoing.append(&mut stream.get_mut().outgoing);
                Err(stream.error().to_string())
            }
            Err(HandshakeError::SetupFailure(e)) => Err(e.to_string()),
        }
    }

    fn take_keys(&mut self, stream: &SslStream<Wire>) -> Result<(), String> {
        let ssl = stream.ssl();
        let certificate = ssl.peer_certificate().ok_or("the peer showed no certificate")?;
        let chosen = ssl.selected_srtp_profile().ok_or("the peer offered no SRTP profile")?;
        let (_, profile) = PROFILES
            .into_iter()
            .find(|(name, _)| *name == chosen.name())
            .ok_or("an SRTP profile nobody offered")?;
        let mut keys = vec![0; profile.keying_material_len()];
        ssl.export_keying_material(&mut keys, EXPORTER_LABEL, None).map_err(|e| e.to_string())?;
        self.peer_certificate = Some(certificate.to_der().map_err(|e| e.to_string())?);
        self.keys = Some((keys, profile));
        Ok(())
    }

    /// Reads all records at hand. Retransmitted handshake messages are answered by OpenSSL; application data is dropped.
    fn read_records(&mut self, stream: &mut SslStream<Wire>) -> Result<(), String> {
        let mut ignored = [0; MAX_DATAGRAM];
        loop {
            match stream.ssl_read(&mut ignored) {
                Ok(n) if n > 0 => {}
                Ok(_) => return Ok(()),
                Err(e) if e.code() == ErrorCode::WANT_READ => return Ok(()),
                Err(e) if e.code() == ErrorCode::ZERO_RETURN => {
                    self.end(stream);
                    self.close_notify = true;
                    return Ok(());
                }
                Err(e) => return Err(e.to_string()),
            }
        }
    }

    /// Sends close_notify, once.
    fn end(&mut self, stream: &mut SslStream<Wire>) {
        if !stream.get_shutdown().contains(ShutdownState::SENT)
            && let Err(e) = stream.shutdown()
        {
            tracing::debug!(error = %e, "DTLS close_notify was not sent");
        }
        self.outgoing.append(&mut stream.get_mut().outgoing);
        self.closed = true;
    }
}

/// `bytes` in the caller's buffer, when they fit.
fn lend<'a>(bytes: &[u8], buf: &'a mut [u8]) -> Option<&'a [u8]> {
    let buf = buf.get_mut(..bytes.len())?;
    buf.copy_from_slice(bytes);
    Some(buf)
}

impl DtlsInstance for Handshake {
    fn set_active(&mut self, active: bool) {
        self.active = active;
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        if packet.len() > MAX_DATAGRAM || self.closed {
            return Ok(());
        }
        // str0m starts a client by an empty packet.
        self.advance((!packet.is_empty()).then_some(packet))
    }

    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        if let Some(packet) = self.outgoing.pop_front() {
            return match lend(&packet, buf) {
                Some(packet) => DtlsOutput::Packet(packet),
                None => DtlsOutput::BufferTooSmall { needed: packet.len() },
            };
        }
        if std::mem::take(&mut self.connected) {
            return DtlsOutput::Connected;
        }
        if let Some(certificate) = self.peer_certificate.take() {
            // Too large for the buffer: str0m ends the session, as it does for every output it does not expect.
            return match lend(&certificate, buf) {
                Some(certificate) => DtlsOutput::PeerCert(certificate),
                None => DtlsOutput::BufferTooSmall { needed: certificate.len() },
            };
        }
        if let Some((keys, profile)) = self.keys.take() {
            return DtlsOutput::KeyingMaterial(KeyingMaterial::new(&keys), profile);
        }
        if std::mem::take(&mut self.close_notify) {
            return DtlsOutput::CloseNotify;
        }
        DtlsOutput::Timeout(if self.in_progress() { self.retry_at } else { far(self.retry_at) })
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        if now < self.retry_at {
            return Ok(());
        }
        self.retry_at = now + RETRY;
        // Before the first packet a server has nothing to repeat.
        if matches!(self.stage, Stage::Shaking(_)) { self.advance(None) } else { Ok(()) }
    }

    fn send_application_data(&mut self, _data: &[u8]) -> Result<(), DtlsImplError> {
        Err(DtlsImplError::ConnectionClosed)
    }

    fn is_active(&self) -> bool {
        self.active
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        matches!(self.stage, Stage::Established(_)).then_some(ProtocolVersion::DTLS1_2)
    }

    fn is_closing(&self) -> bool {
        self.closed
    }

    fn is_closed(&self) -> bool {
        self.closed && self.outgoing.is_empty()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        match std::mem::replace(&mut self.stage, Stage::Dead) {
            Stage::Established(mut stream) => {
                self.end(&mut stream);
                self.stage = Stage::Established(stream);
            }
            other => self.stage = other,
        }
        self.closed = true;
        Ok(())
    }
}

/// A time that does not come.
fn far(from: Instant) -> Instant {
    from + Duration::from_secs(24 * 3600)
}
