//! DTLS as str0m brings it, with a tap on the SRTP keying material, because media packets here do not go through str0m.
//!
//! str0m has no getter for the keys and takes providers as statics, so the tap cannot know whose handshake it is. It need not: a
//! handshake ends inside `poll_output`, on the thread that called it, and whoever called takes the keys right after ([`take`]).

use std::cell::RefCell;
use std::time::Instant;
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, ProtocolVersion,
    SrtpProfile,
};
use str0m::crypto::{CryptoError, CryptoProvider};

/// What a handshake exported (RFC 5764 section 4.2): both master keys, then both salts, the client's first.
pub(crate) struct Keying {
    pub(crate) profile: SrtpProfile,
    pub(crate) material: Vec<u8>,
    /// This side was the DTLS client.
    pub(crate) client: bool,
}

thread_local! {
    static EXPORTED: RefCell<Option<Keying>> = const { RefCell::new(None) };
}

/// The keys of a handshake that ended on this thread since the last call.
pub(crate) fn take() -> Option<Keying> {
    EXPORTED.take()
}

/// str0m's default cryptography with the tap in place.
pub(crate) fn crypto_provider() -> CryptoProvider {
    static TAP: TapProvider = TapProvider;
    CryptoProvider { dtls_provider: &TAP, ..str0m::crypto::from_feature_flags() }
}

#[derive(Debug)]
struct TapProvider;

impl DtlsProvider for TapProvider {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        str0m::crypto::from_feature_flags().dtls_provider.generate_certificate()
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let inner = str0m::crypto::from_feature_flags().dtls_provider.new_dtls(cert, now, version, mtu)?;
        Ok(Box::new(Tap(inner)))
    }
}

#[derive(Debug)]
struct Tap(Box<dyn DtlsInstance>);

impl DtlsInstance for Tap {
    fn set_active(&mut self, active: bool) {
        self.0.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.0.handle_packet(packet)
    }

    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        let client = self.0.is_active();
        let output = self.0.poll_output(buf);
        if let DtlsOutput::KeyingMaterial(material, profile) = &output {
            EXPORTED.set(Some(Keying { profile: *profile, material: material.to_vec(), client }));
        }
        output
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.0.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<(), DtlsImplError> {
        self.0.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.0.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.0.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.0.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.0.close()
    }
}
