//! Accepts connections and hands requests to warp: HTTP/1.1 and HTTP/2 on one port.

use super::reply;
use super::request::Request;
use crate::app::App;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use warp::Filter;
use warp::reply::Response;

/// A connection that has not sent a whole request head by then is closed.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);

/// How long running answers may take after the server was told to stop.
const DRAIN: Duration = Duration::from_secs(3);

/// Where a connection comes from; every request on it carries this along.
#[derive(Debug, Clone, Copy)]
struct Peer(IpAddr);

/// Serves until `shutdown`, then lets running answers end.
pub(crate) async fn serve(
    app: Arc<App>,
    listener: TcpListener,
    max_connections: usize,
    shutdown: impl Future<Output = ()>,
) {
    let service = TowerToHyperService::new(warp::service(routes(app)));
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).half_close(true);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Duration::from_secs(20));
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(max_connections));
    tokio::pin!(shutdown);
    loop {
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place.expect("the semaphore is never closed"),
            () = &mut shutdown => break,
        };
        let (socket, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, address)) => (socket, Peer(address.ip())),
                Err(error) => {
                    // Out of file descriptors, or a peer that was gone before we looked: wait rather than spin.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = &mut shutdown => break,
        };
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
        let routes = service.clone();
        let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(peer);
            routes.call(request)
        });
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(socket), service);
        let connection = graceful.watch(connection.into_owned());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended early");
            }
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::info!("some answers were still running and are cut off");
    }
}

/// One filter that takes every request apart; what it asks for is decided in one place, not by a chain of filters.
fn routes(app: Arc<App>) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::ext::get::<Peer>()
        .and(warp::method())
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(move |Peer(peer), method, path: warp::path::FullPath, query, headers, body| {
            let app = Arc::clone(&app);
            let request = Request::new(peer, method, path.as_str().to_owned(), query, headers, body);
            async move { reply::into_warp(super::answer(app, request).await) }
        })
        .recover(broken)
        .unify()
}

/// Only a body that was taken twice or a connection without a peer could end here, and there is neither.
async fn broken(_: warp::Rejection) -> Result<Response, Infallible> {
    Ok(reply::into_warp(reply::empty(500)))
}
