//! A small WHIP or WHEP server, which are alike on the wire: answers offers with the test's own [`Peer`], or with whatever the
//! test scripts.

use crate::{Peer, PeerSetup};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

/// A reply instead of a session.
#[derive(Debug, Clone)]
pub struct Scripted {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: &'static str,
}

/// One request, written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub token: Option<String>,
    pub body: String,
}

pub struct State {
    pub asked: Mutex<Vec<Asked>>,
    /// Replies to the next POSTs; when there are none left, offers are accepted.
    pub script: Mutex<VecDeque<Scripted>>,
    /// The peer of each session, in order; `None` once killed.
    pub peers: Mutex<Vec<Option<Arc<Peer>>>>,
    /// How the peers of the next sessions are made.
    pub setup: Mutex<PeerSetup>,
    /// The time and scheme of `Location`: absolute or relative.
    pub absolute_location: Mutex<bool>,
}

/// Listens on a loopback port of its own until dropped.
pub struct Server {
    pub address: SocketAddr,
    pub state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            asked: Mutex::default(),
            script: Mutex::default(),
            peers: Mutex::default(),
            setup: Mutex::default(),
            absolute_location: Mutex::new(false),
        });
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let state = Arc::clone(&shared);
                tokio::spawn(async move {
                    let service = hyper::service::service_fn(move |request| {
                        let state = Arc::clone(&state);
                        async move { Ok::<_, Infallible>(handle(&state, address, request).await) }
                    });
                    // A client that hangs up is no failure of the test.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, state, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}/{}/demo", self.address, crate::PROTOCOL)
    }

    pub fn script(&self, status: u16, headers: &[(&'static str, &str)], body: &'static str) {
        let headers = headers.iter().map(|(n, v)| (*n, (*v).to_owned())).collect();
        self.state.script.lock().unwrap().push_back(Scripted { status, headers, body });
    }

    /// Methods and paths asked, OPTIONS left out.
    pub fn asked(&self) -> Vec<String> {
        let asked = self.state.asked.lock().unwrap();
        asked.iter().filter(|a| a.method != "OPTIONS").map(|a| format!("{} {}", a.method, a.path)).collect()
    }

    pub fn offer(&self) -> String {
        let asked = self.state.asked.lock().unwrap();
        asked.iter().find(|a| a.method == "POST").unwrap().body.clone()
    }

    /// The peer of session `index`.
    #[allow(dead_code, reason = "the viewer's tests never look at their peer")]
    pub fn peer(&self, index: usize) -> Arc<Peer> {
        Arc::clone(self.state.peers.lock().unwrap()[index].as_ref().unwrap())
    }

    /// Lets go of a peer, as a server that crashed.
    pub fn kill(&self, index: usize) {
        self.state.peers.lock().unwrap()[index] = None;
    }
}

async fn handle(state: &State, address: SocketAddr, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let token = parts.headers.get("authorization").map(|v| v.to_str().unwrap().to_owned());
    let path = parts.uri.path().to_owned();
    state.asked.lock().unwrap().push(Asked {
        method: parts.method.to_string(),
        path: path.clone(),
        token,
        body: body.clone(),
    });
    let reply = Response::builder();
    if parts.method == Method::OPTIONS {
        return reply.status(204).header("Accept-Post", "application/sdp").body(Full::default()).unwrap();
    }
    if parts.method == Method::DELETE {
        return reply.status(200).body(Full::default()).unwrap();
    }
    assert_eq!(parts.headers["content-type"], "application/sdp");
    if let Some(scripted) = state.script.lock().unwrap().pop_front() {
        let reply = scripted.headers.iter().fold(reply.status(scripted.status), |r, (n, v)| r.header(*n, v));
        return reply.body(Full::from(scripted.body)).unwrap();
    }
    let setup = state.setup.lock().unwrap().clone();
    let peer = Peer::new(&setup);
    let answer = peer.answer(&body).await;
    let mut peers = state.peers.lock().unwrap();
    peers.push(Some(Arc::new(peer)));
    let mut location = format!("/session/{}", peers.len());
    if *state.absolute_location.lock().unwrap() {
        location = format!("http://{address}{location}");
    }
    reply
        .status(201)
        .header("Location", location)
        .header("Content-Type", "application/sdp")
        .header("ETag", "\"1\"")
        .body(Full::from(answer))
        .unwrap()
}
