//! One connection, from its handshake to its end.

use super::body::Sent;
use super::pulse::{Beat, Pulse, Verdict};
use super::routes;
use crate::app::App;
use crate::http::request::{Came, Request};
use hyper::body::{Body, Incoming};
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use warp::http::header::{HOST, UPGRADE};
use warp::http::{HeaderValue, Version};

/// From the TCP connection to the end of the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A client that takes none of what was sent for this long is gone, or means harm; the kernel ends its connection.
const WRITE_STALL: Duration = Duration::from_secs(60);

/// How long a connection may take to end once it was asked to.
const FAREWELL: Duration = Duration::from_secs(2);

/// The largest head of a request on HTTP/1.1 (beyond: 431), and the largest list of headers on HTTP/2. Browsers stay below 8 kB.
const HEAD_MAX_BYTES: usize = 64 * 1024;

/// Requests at a time on one HTTP/2 connection. A player has a handful, a dashboard a few event streams.
const HTTP2_STREAMS: u32 = 128;

/// Streams that a client may reset before they were looked at, or make us reset, before its connection is closed (CVE-2023-44487).
const HTTP2_RESETS: usize = 20;

/// Resets of this side's making that are remembered, per connection.
const HTTP2_LOCAL_RESETS: usize = 256;

/// A silent HTTP/2 connection is asked for a sign this often, because networks forget silent connections without a word.
const HTTP2_PING: Duration = Duration::from_secs(20);

/// And is given up when none has come by then.
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(20);

/// What all connections share.
pub(super) struct Shared {
    app: Arc<App>,
    builder: Builder<TokioExecutor>,
    warp: Warp,
}

/// Requests that bring a body, or want another protocol, go through warp.
type Warp = Box<
    dyn Fn(hyper::Request<Incoming>) -> Pin<Box<dyn Future<Output = warp::reply::Response> + Send>>
        + Send
        + Sync,
>;

impl Shared {
    pub(super) fn new(app: Arc<App>) -> Self {
        let service = TowerToHyperService::new(warp::service(routes(Arc::clone(&app))));
        let warp: Warp = Box::new(move |request| {
            let answer = service.call(request);
            Box::pin(async move { answer.await.unwrap_or_else(|never: Infallible| match never {}) })
        });
        let mut builder = Builder::new(TokioExecutor::new());
        // Slow heads are `pulse`'s business: hyper would set up a timer for each request. No `pipeline_flush`: it makes hyper copy
        // every segment behind its head, instead of handing both to the kernel as they are.
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .half_close(true)
            .max_buf_size(HEAD_MAX_BYTES);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(HTTP2_STREAMS)
            .max_pending_accept_reset_streams(HTTP2_RESETS)
            .max_local_error_reset_streams(HTTP2_LOCAL_RESETS)
            .max_header_list_size(HEAD_MAX_BYTES as u32)
            .keep_alive_interval(HTTP2_PING)
            .keep_alive_timeout(HTTP2_PING_TIMEOUT);
        Self { app, builder, warp }
    }

    /// Answers one request.
    async fn answer(
        &self,
        mut request: hyper::Request<Incoming>,
        came: Came,
        beat: Beat,
    ) -> hyper::Response<Sent> {
        name_host(&mut request);
        if request.body().is_end_stream() && !request.headers().contains_key(UPGRADE) {
            let (parts, _) = request.into_parts();
            let (path, query) =
                (parts.uri.path().to_owned(), parts.uri.query().unwrap_or_default().to_owned());
            let request = Request::without_body(came, parts.method, path, query, parts.headers);
            return Sent::of_reply(crate::http::answer(Arc::clone(&self.app), request).await, beat);
        }
        request.extensions_mut().insert(came);
        Sent::of_warp((self.warp)(request).await, beat)
    }
}

/// `Host` says for whom a request is, however it came: in `:authority` (RFC 9113 section 8.3.1) or in an absolute target, which
/// outweighs the header (RFC 9112 section 3.2.2).
fn name_host(request: &mut hyper::Request<Incoming>) {
    let Some(authority) = request.uri().authority() else { return };
    // Without user and password, if a client sends them.
    let host = authority.as_str().rsplit('@').next().unwrap_or_default();
    if let Ok(host) = HeaderValue::from_str(host) {
        request.headers_mut().insert(HOST, host);
    }
}

/// What every connection's socket gets.
pub(super) fn set_options(socket: &TcpStream) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let stall_ms = u32::try_from(WRITE_STALL.as_millis()).unwrap_or(u32::MAX);
    if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(socket, stall_ms) {
        tracing::debug!(%error, "no TCP_USER_TIMEOUT");
    }
}

/// Serves a connection until it ends.
pub(super) async fn attend(
    shared: &Arc<Shared>,
    socket: TcpStream,
    came: Came,
    tls: Option<TlsAcceptor>,
    stopping: watch::Receiver<bool>,
) {
    let Some(tls) = tls else { return drive(shared, socket, came, stopping).await };
    match timeout(HANDSHAKE, tls.accept(socket)).await {
        Ok(Ok(stream)) => drive(shared, stream, came, stopping).await,
        Ok(Err(error)) => tracing::debug!(%error, from = %came.from, "no TLS"),
        Err(_) => tracing::debug!(from = %came.from, "the TLS handshake took too long"),
    }
}

async fn drive<S>(shared: &Arc<Shared>, stream: S, came: Came, mut stopping: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let pulse = Arc::new(Pulse::new());
    let io = TokioIo::new(Wire { stream, pulse: Arc::clone(&pulse) });
    let service = {
        let (shared, pulse) = (Arc::clone(shared), Arc::clone(&pulse));
        service_fn(move |request: hyper::Request<Incoming>| {
            let beat = pulse.begin(request.version() == Version::HTTP_2);
            let shared = Arc::clone(&shared);
            async move { Ok::<_, Infallible>(shared.answer(request, came, beat).await) }
        })
    };
    let mut connection = pin!(shared.builder.serve_connection_with_upgrades(io, service));
    let mut look = pin!(sleep_until(Instant::now() + super::pulse::FIRST_REQUEST));
    let mut is_ending = false;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, from = %came.from, "connection ended early");
                }
                return;
            }
            // An error says that the server is gone, which comes to the same.
            _ = stopping.wait_for(|stop| *stop), if !is_ending => {
                is_ending = true;
                connection.as_mut().graceful_shutdown();
            }
            () = look.as_mut() => match pulse.verdict() {
                Verdict::Wait(time) => look.as_mut().reset(Instant::now() + time),
                Verdict::Idle if is_ending => return,
                Verdict::Idle => {
                    is_ending = true;
                    connection.as_mut().graceful_shutdown();
                    look.as_mut().reset(Instant::now() + FAREWELL);
                }
            },
        }
    }
}

/// A stream that tells its connection's pulse when something is written.
struct Wire<S> {
    stream: S,
    pulse: Arc<Pulse>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf));
        self.pulse.note_write();
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs));
        self.pulse.note_write();
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
