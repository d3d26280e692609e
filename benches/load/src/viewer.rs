//! One viewer: a socket of its own and what happens on it.

use crate::answer::Answer;
use crate::offer::{self, Feedback, Identity, Lanes};
use crate::session::{Figures, Session};
use crate::socket::{Batch, ViewerSocket};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use str0m::config::{CryptoProvider, DtlsCert};
use str0m::{Candidate, IceCreds, Rtc};

/// What all viewers of a run have in common.
pub(crate) struct Kit {
    pub(crate) crypto: CryptoProvider,
    pub(crate) certificate: DtlsCert,
    pub(crate) bind: IpAddr,
    pub(crate) lanes: Lanes,
    pub(crate) feedback: Feedback,
    /// Datagrams may be joined by the kernel.
    pub(crate) batched: bool,
}

/// One viewer.
pub(crate) struct Viewer {
    socket: ViewerSocket,
    session: Session,
    /// The thread's: when its timer for this viewer comes up.
    pub(crate) armed: Option<Instant>,
}

impl Viewer {
    /// A viewer with its socket, and the offer to send; its clock starts now.
    pub(crate) fn open(id: usize, kit: &Kit) -> io::Result<(Self, String)> {
        let socket = ViewerSocket::open(kit.bind, kit.batched)?;
        let now = Instant::now();
        let mut rtc = Rtc::builder()
            .clear_codecs()
            .set_crypto_provider(Arc::new(kit.crypto.clone()))
            .set_dtls_cert(kit.certificate.clone())
            .build(now);
        let local = Candidate::host(socket.addr(), "udp").map_err(io::Error::other)?;
        rtc.add_local_candidate(local);
        let mut direct = rtc.direct_api();
        // The side that offers controls (RFC 8445 section 6.1.1).
        direct.set_ice_controlling(true);
        let IceCreds { ufrag, pass } = direct.local_ice_credentials();
        let identity = Identity {
            ufrag: &ufrag,
            password: &pass,
            fingerprint: &direct.local_dtls_fingerprint().bytes,
            address: socket.addr(),
        };
        let offer = offer::write(&identity, kit.lanes, kit.feedback);
        let session = Session::new(id, rtc, socket.addr(), kit.feedback, now);
        Ok((Self { socket, session, armed: None }, offer))
    }

    /// Takes the server's answer, which came `answered` after the request; `candidates` are those of it that may be used.
    pub(crate) fn accept(&mut self, answer: Answer, candidates: &[SocketAddr], answered: Duration) {
        self.session.accept(answer, candidates, answered);
    }

    pub(crate) const fn socket(&self) -> &ViewerSocket {
        &self.socket
    }

    /// When [`Self::handle_timeout`] is due; `None` for one that has ended.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.session.due()
    }

    /// Reads all that waits on the socket.
    pub(crate) fn handle_readable(&mut self, now: Instant, batch: &mut Batch) {
        let Self { socket, session, .. } = self;
        let read = socket.read(batch, |source, arrival, datagram| {
            session.handle_datagram(now, source, arrival, datagram, socket);
        });
        if let Err(error) = read {
            session.handle_socket_error(&error);
        }
    }

    /// Ends it because its socket cannot be used.
    pub(crate) fn handle_socket_error(&mut self, error: &io::Error) {
        self.session.handle_socket_error(error);
    }

    /// Does what time asks for.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.session.handle_timeout(now, &self.socket);
    }

    /// Says good-bye on the wire, for servers that gave no URL to delete.
    pub(crate) fn close(&mut self) {
        self.session.close(&self.socket);
    }

    /// Begins the window in which the longest gap is sought.
    pub(crate) const fn begin_window(&mut self, now: Instant) {
        self.session.begin_window(now);
    }

    /// Hands over what the server has added to packets since the last call.
    pub(crate) fn take_latencies(&mut self) -> Vec<Duration> {
        self.session.take_latencies()
    }

    /// The figures so far.
    pub(crate) fn figures(&self, now: Instant) -> Figures {
        self.session.figures(now)
    }
}
