//! A small WHIP server: answers offers with a [`Receiver`], or with whatever the test scripts.

use crate::receiver::Receiver;
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
    /// The receiver of each session, in order; `None` once deleted or killed.
    pub receivers: Mutex<Vec<Option<Arc<Receiver>>>>,
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
            receivers: Mutex::default(),
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
        format!("http://{}/whip/demo", self.address)
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

    /// The receiver of session `index`.
    pub fn receiver(&self, index: usize) -> Arc<Receiver> {
        Arc::clone(self.state.receivers.lock().unwrap()[index].as_ref().unwrap())
    }

    /// Lets go of a receiver, as a server that crashed.
    pub fn kill(&self, index: usize) {
        self.state.receivers.lock().unwrap()[index] = None;
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
    let receiver = Receiver::new();
    let answer = receiver.answer(&body).await;
    let mut receivers = state.receivers.lock().unwrap();
    receivers.push(Some(Arc::new(receiver)));
    let mut location = format!("/session/{}", receivers.len());
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
