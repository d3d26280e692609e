//! Stream name -> stream task, session -> stream. Nothing is kept of names nobody publishes.

use crate::config::Config;
use crate::stream::{self, Command, NewPublisher, Status, StreamHandle};
use relay_node::{Node, OfferError, PublishAnswer, PublishRequest, PublisherEvent, SessionId};
use skywave_media::hls::HlsView;
use skywave_media::name::StreamName;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// RTP packets that wait for a stream task: about a second of 10 Mbit/s. Beyond it packets are dropped and counted.
const PACKET_QUEUE: usize = 1024;

/// How long streams may take to end when the server stops.
const SHUT_DOWN: Duration = Duration::from_secs(3);

/// All streams and sessions of this node.
pub(crate) struct Registry {
    node: Arc<Node>,
    config: Arc<Config>,
    streams: Mutex<BTreeMap<StreamName, StreamHandle>>,
    sessions: Mutex<HashMap<String, (StreamName, SessionId)>>,
}

/// Holds a session's place in the registry; dropping it forgets the session and closes it on the node.
pub(crate) struct SessionGuard {
    registry: Arc<Registry>,
    id: SessionId,
}

impl SessionGuard {
    /// The session.
    pub(crate) const fn id(&self) -> &SessionId {
        &self.id
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.registry.node.close(&self.id);
        lock(&self.registry.sessions).remove(&self.id.to_string());
    }
}

impl Registry {
    /// An empty registry on a running node.
    pub(crate) fn new(node: Node, config: Config) -> Self {
        Self {
            node: Arc::new(node),
            config: Arc::new(config),
            streams: Mutex::default(),
            sessions: Mutex::default(),
        }
    }

    /// The node, for keyframe requests.
    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    /// The configuration.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Answers a publisher's offer. The stream exists once the publisher has really connected.
    pub(crate) async fn publish(
        self: &Arc<Self>,
        stream: StreamName,
        offer: String,
    ) -> Result<PublishAnswer, OfferError> {
        let (events, receiver) = mpsc::channel(PACKET_QUEUE);
        let request = PublishRequest { stream: stream.to_string(), offer, events };
        let answer = self.node.publish(request).await?;
        let id = answer.session.clone();
        lock(&self.sessions).insert(id.to_string(), (stream.clone(), id.clone()));
        tracing::info!(%stream, session = %id, "publisher answered");
        let session = SessionGuard { registry: Arc::clone(self), id };
        let publisher = NewPublisher { session, tracks: answer.tracks.clone(), events: receiver };
        tokio::spawn(Arc::clone(self).await_connection(stream, publisher));
        Ok(answer)
    }

    /// Ends a session of this stream; false when there is none of that name.
    pub(crate) fn unpublish(&self, stream: &StreamName, session: &str) -> bool {
        let found = lock(&self.sessions).get(session).filter(|(owner, _)| owner == stream).cloned();
        match found {
            Some((_, id)) => {
                self.node.close(&id);
                true
            }
            None => false,
        }
    }

    /// The HLS window of a stream that is on air or ended a moment ago.
    pub(crate) fn hls(&self, stream: &StreamName) -> Option<Arc<HlsView>> {
        lock(&self.streams).get(stream).map(StreamHandle::hls)
    }

    /// What a stream does.
    pub(crate) fn status(&self, stream: &StreamName) -> Option<Arc<Status>> {
        lock(&self.streams).get(stream).map(StreamHandle::status)
    }

    /// What every stream does, by name.
    pub(crate) fn statuses(&self) -> Vec<Arc<Status>> {
        lock(&self.streams).values().map(StreamHandle::status).collect()
    }

    /// Forgets a stream that has ended, unless a publisher has come to it meanwhile. The stream task calls this last.
    pub(crate) fn forget(&self, stream: &StreamName, commands: &mut mpsc::Receiver<Command>) -> bool {
        let mut streams = lock(&self.streams);
        if !commands.is_empty() {
            return false;
        }
        commands.close();
        streams.remove(stream);
        true
    }

    /// Ends all streams. The node's threads end, and tell their peers, when the registry goes.
    pub(crate) async fn shut_down(&self) {
        let handles: Vec<StreamHandle> = lock(&self.streams).values().cloned().collect();
        let ends = handles.iter().map(|handle| handle.commands.send(Command::ShutDown));
        let all = async {
            for sent in futures_util::future::join_all(ends).await {
                if sent.is_err() {
                    tracing::debug!("a stream had ended already");
                }
            }
            for handle in &handles {
                handle.commands.closed().await;
            }
        };
        if tokio::time::timeout(SHUT_DOWN, all).await.is_err() {
            tracing::warn!("some streams did not end in time");
        }
    }

    /// Waits until ICE and DTLS are up, so that a publisher who cannot connect disturbs nobody, then hands the
    /// session to its stream.
    async fn await_connection(self: Arc<Self>, stream: StreamName, mut publisher: NewPublisher) {
        match publisher.events.recv().await {
            Some(PublisherEvent::Connected) => {}
            Some(PublisherEvent::Closed { reason }) => {
                tracing::info!(%stream, session = %publisher.session.id(), %reason, "publisher never connected");
                return;
            }
            Some(PublisherEvent::Packet { .. } | PublisherEvent::SenderReport { .. }) | None => {
                tracing::error!(%stream, session = %publisher.session.id(), "the node spoke out of turn");
                return;
            }
        }
        let mut command = Command::Publish(publisher);
        // A stream may be ending just now; then the next round makes a new one.
        loop {
            let handle = lock(&self.streams)
                .entry(stream.clone())
                .or_insert_with(|| stream::start(Arc::clone(&self), stream.clone()))
                .clone();
            match handle.commands.send(command).await {
                Ok(()) => return,
                Err(refused) => command = refused.0,
            }
            let mut streams = lock(&self.streams);
            if streams.get(&stream).is_some_and(|h| h.commands.is_closed()) {
                streams.remove(&stream);
            }
        }
    }
}

/// The maps are plain values, whole after every statement: a panic elsewhere leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
