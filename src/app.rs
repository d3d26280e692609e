//! Assembly: what is started, in which order, and how it ends.

use crate::config::{Config, Media};
use crate::events::EventHub;
use crate::http::server;
use crate::metrics::Metrics;
use crate::registry::{self, Registry};
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
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
}

/// Serves until `shutdown`. `bound` is told the address once requests are answered.
pub(crate) async fn run(
    config: Config,
    shutdown: impl Future<Output = ()>,
    bound: impl FnOnce(SocketAddr),
) -> Result<(), StartError> {
    worker::check_elements(config.transcode.encoder).await.map_err(StartError::Elements)?;
    let address = config.http.listen;
    let listener =
        TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })?;
    let address = listener.local_addr().map_err(|source| StartError::Listen { address, source })?;
    let node = Node::start(node_config(&config))?;
    tracing::info!(http = %address, media = ?node.local_addrs(), "serving");
    let max_connections = config.http.max_connections;
    let registry = Arc::new(Registry::new(node, config));
    let events = Arc::new(EventHub::new(Arc::clone(&registry)));
    let app = Arc::new(App {
        registry: Arc::clone(&registry),
        events: Arc::clone(&events),
        metrics: Metrics::default(),
        stopping: watch::Sender::new(false),
    });
    let telling = tokio::spawn(async move { events.run().await });
    let sweep = tokio::spawn(registry::sweep(Arc::downgrade(&registry)));
    bound(address);
    let stop = async {
        shutdown.await;
        tracing::info!("stopping");
        app.stopping.send_replace(true);
    };
    server::serve(Arc::clone(&app), listener, max_connections, stop).await;
    registry.shut_down().await;
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
