//! Accepts connections and has their requests answered: HTTP/1.1 and HTTP/2 on every port, plain or over TLS.
//!
//! What belongs here: where connections come in and how the server ends. One connection's life is [`connection`]'s, when it has been
//! quiet for too long [`pulse`] decides, what an answer carries on the wire is [`body`]. Requests that bring a body are taken apart by
//! warp's filters; those that bring none, which is all that players send, have nothing to be taken apart.

mod body;
mod connection;
mod pulse;

use super::reply;
use super::request::{Came, Request};
use crate::app::App;
use connection::Shared;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;
use warp::Filter;
use warp::reply::Response;

/// How long running answers may take after the server was told to stop.
const DRAIN: Duration = Duration::from_secs(3);

/// An address that is listened on.
pub(crate) struct Entrance {
    pub(crate) listener: TcpListener,
    /// Connections begin with a TLS handshake.
    pub(crate) tls: Option<TlsAcceptor>,
    /// Who comes here is sent to HTTPS on this port.
    pub(crate) redirect_to: Option<u16>,
}

/// Serves until `shutdown`, then lets running answers end. `max_connections` are for all entrances together.
pub(crate) async fn serve(
    app: Arc<App>,
    entrances: Vec<Entrance>,
    max_connections: usize,
    shutdown: impl Future<Output = ()>,
) {
    let (stop, stopping) = watch::channel(false);
    // Every task holds a sender; when the last has gone, all connections have.
    let (alive, mut all_gone) = mpsc::channel::<Infallible>(1);
    let shared = Arc::new(Shared::new(app));
    let places = Arc::new(Semaphore::new(max_connections));
    for entrance in entrances {
        let (shared, places) = (Arc::clone(&shared), Arc::clone(&places));
        let (stopping, alive) = (stopping.clone(), alive.clone());
        tokio::spawn(async move { accept(shared, entrance, places, stopping, alive).await });
    }
    drop((stopping, alive));
    shutdown.await;
    stop.send_replace(true);
    if tokio::time::timeout(DRAIN, all_gone.recv()).await.is_err() {
        tracing::info!("some answers were still running and are cut off");
    }
}

async fn accept(
    shared: Arc<Shared>,
    entrance: Entrance,
    places: Arc<Semaphore>,
    mut stopping: watch::Receiver<bool>,
    alive: mpsc::Sender<Infallible>,
) {
    loop {
        let next = tokio::select! {
            next = next_connection(&entrance.listener, &places) => next,
            // An error says that the server is gone, which comes to the same.
            _ = stopping.wait_for(|stop| *stop) => return,
        };
        let Some((socket, address, place)) = next else { continue };
        connection::set_options(&socket);
        let came = Came { from: address.ip(), redirect_to: entrance.redirect_to };
        let (shared, tls) = (Arc::clone(&shared), entrance.tls.clone());
        let (stopping, alive) = (stopping.clone(), alive.clone());
        tokio::spawn(async move {
            connection::attend(&shared, socket, came, tls, stopping).await;
            drop((place, alive));
        });
    }
}

/// The next connection, when there is a place for it; `None` when it could not be accepted.
async fn next_connection(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.expect("the semaphore is never closed");
    match listener.accept().await {
        Ok((socket, address)) => Some((socket, address, place)),
        Err(error) => {
            // Out of file descriptors, or a peer that was gone before we looked: wait rather than spin.
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

/// One filter that takes every request with a body apart; what it asks for is decided in one place, not by a chain of filters.
fn routes(app: Arc<App>) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    let head = warp::ext::get::<Came>()
        .and(warp::method())
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned());
    let with_upgrade =
        head.and(warp::ws()).map(|came, method, path: warp::path::FullPath, query, headers, upgrade| {
            Request::without_body(came, method, path.as_str().to_owned(), query, headers)
                .with_upgrade(upgrade)
        });
    let with_body = head.and(warp::body::stream()).map(
        |came, method, path: warp::path::FullPath, query, headers, body| {
            Request::new(came, method, path.as_str().to_owned(), query, headers, body)
        },
    );
    with_upgrade
        .or(with_body)
        .unify()
        .then(move |request: Request| {
            let app = Arc::clone(&app);
            async move { reply::into_warp(super::answer(app, request).await) }
        })
        .recover(broken)
        .unify()
}

/// Only a body that was taken twice or a connection without a peer could end here, and there is neither.
async fn broken(_: warp::Rejection) -> Result<Response, Infallible> {
    Ok(reply::into_warp(reply::empty(500)))
}
