//! Assembly: what is started, in which order, and how it ends.

use crate::config::{Config, Hls, Media};
use crate::events::EventHub;
use crate::http::server::{self, Entrance};
use crate::metrics::Metrics;
use crate::outputs::dvr::DvrDisk;
use crate::registry::{self, Registry};
use crate::tls::{Tls, TlsError};
use crate::worker;
use relay_node::{Node, NodeConfig};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How long recordings may take to be finished when the server stops; the next start finishes the rest.
const SETTLE: Duration = Duration::from_secs(10);

/// What every request may use.
pub(crate) struct App {
    pub(crate) registry: Arc<Registry>,
    pub(crate) events: Arc<EventHub>,
    pub(crate) metrics: Metrics,
    stopping: watch::Sender<bool>,
}

impl App {
    /// Whether the server is on its way out and takes nobody new.
    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Waits until the server is on its way out; answers that run without end must end then.
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        let mut stopping = self.stopping.subscribe();
        async move {
            // An error says that the app is gone, which comes to the same.
            let _gone = stopping.wait_for(|stopping| *stopping).await;
        }
    }
}

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("GStreamer lacks what Skywave needs (`make deps` installs it):\n{0}")]
    Elements(String),
    #[error("cannot open the media ports: {0}")]
    Node(#[from] relay_node::NodeError),
    #[error("cannot listen on {address} ({key}): {source}")]
    Listen { key: &'static str, address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("hls.dvr_dir = {folder:?} cannot be used: {source}")]
    DvrDisk { folder: String, source: std::io::Error },
}

/// Where requests are answered.
pub(crate) struct Bound {
    pub(crate) http: SocketAddr,
    pub(crate) https: Option<Https>,
}

/// HTTPS, where it is on.
pub(crate) struct Https {
    pub(crate) address: SocketAddr,
    /// SHA-256 of the certificate, when it was made here.
    pub(crate) fingerprint: Option<String>,
}

/// Serves until `shutdown`. `bound` is told where, once requests are answered.
pub(crate) async fn run(
    config: Config,
    shutdown: impl Future<Output = ()>,
    bound: impl FnOnce(&Bound),
) -> Result<(), StartError> {
    worker::check_elements(config.transcode.encoder).await.map_err(StartError::Elements)?;
    let tls = Tls::of(&config)?;
    let (entrances, addresses) = listen(&config, tls.as_ref()).await?;
    let dvr_disk = open_dvr_disk(&config.hls)?;
    let node = Node::start(node_config(&config))?;
    let https = addresses.https.as_ref().map(|https| https.address.to_string());
    tracing::info!(http = %addresses.http, https, media = ?node.local_addrs(), "serving");
    let max_connections = config.http.max_connections;
    let registry = Arc::new(Registry::new(node, config, dvr_disk));
    let events = Arc::new(EventHub::new(Arc::clone(&registry)));
    let app = Arc::new(App {
        registry: Arc::clone(&registry),
        events: Arc::clone(&events),
        metrics: Metrics::default(),
        stopping: watch::Sender::new(false),
    });
    let telling = tokio::spawn(async move { events.run().await });
    let sweep = tokio::spawn(registry::sweep(Arc::downgrade(&registry)));
    let certificates = tokio::spawn(async move {
        if let Some(tls) = tls {
            tls.keep_up().await;
        }
    });
    bound(&addresses);
    let stop = async {
        shutdown.await;
        tracing::info!("stopping");
        app.stopping.send_replace(true);
    };
    server::serve(Arc::clone(&app), entrances, max_connections, stop).await;
    registry.shut_down().await;
    certificates.abort();
    registry.library().settle(SETTLE).await;
    sweep.abort();
    telling.abort();
    // An error is what was asked for: the task holds the registry until it has really ended.
    let _aborted = telling.await;
    drop(app);
    // The last to hold the node closes its sessions and joins its threads.
    drop(registry);
    Ok(())
}

/// Opens the ports of HTTP and HTTPS.
async fn listen(config: &Config, tls: Option<&Tls>) -> Result<(Vec<Entrance>, Bound), StartError> {
    let open = async |key, address| {
        let failed = |source| StartError::Listen { key, address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok::<_, StartError>((listener, address))
    };
    let (listener, http) = open("http.listen", config.http.listen).await?;
    let mut entrances = vec![Entrance { listener, tls: None, redirect_to: None }];
    let mut bound = Bound { http, https: None };
    if let (Some(tls), Some(address)) = (tls, config.https_listen()) {
        let (listener, address) = open("tls.listen", address).await?;
        entrances[0].redirect_to = config.tls.redirect.then_some(address.port());
        entrances.push(Entrance { listener, tls: Some(tls.acceptor()), redirect_to: None });
        bound.https = Some(Https { address, fingerprint: tls.fingerprint().map(str::to_owned) });
    }
    Ok((entrances, bound))
}

/// Where windows go that are longer than the memory's part of them.
fn open_dvr_disk(config: &Hls) -> Result<Option<DvrDisk>, StartError> {
    if config.dvr_dir.is_empty() {
        return Ok(None);
    }
    let folder = config.dvr_dir.clone();
    let opened = DvrDisk::open(folder.as_ref()).map_err(|source| StartError::DvrDisk { folder, source })?;
    Ok(Some(opened))
}

/// Ends on SIGINT or SIGTERM.
pub(crate) async fn signals() {
    let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    match (interrupt, terminate) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "cannot wait for signals; end this process by SIGKILL");
            std::future::pending::<()>().await;
        }
    }
}

fn node_config(config: &Config) -> NodeConfig {
    let Media { port, bind, advertise, threads, max_sessions, tcp, gso } = &config.media;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // On every address even when HTTP listens on loopback alone: Firefox does not use loopback candidates. Strangers gain
    // nothing by it, because a media packet counts only for a session that HTTP has let in.
    let bind = if bind.is_empty() { NodeConfig::default().bind } else { bind.clone() };
    NodeConfig {
        bind,
        media_port: *port,
        threads: if *threads == 0 { cores } else { *threads },
        advertise: advertise.clone(),
        connect_timeout: Duration::from_millis(config.ingest.connect_timeout_ms),
        silence_timeout: Duration::from_millis(config.ingest.silence_timeout_ms),
        viewer_timeout: Duration::from_millis(config.whep.silence_timeout_ms),
        max_sessions: *max_sessions,
        tcp: *tcp,
        gso: *gso,
        ..NodeConfig::default()
    }
}
