//! What happens on this node, for whoever listens: one task finds it out once, every listener gets the same numbered events.
//!
//! What belongs here: numbering, the bounded queue to listeners, and that a listener's first picture and the events after it fit
//! together. What counts as an event is [`differ`]'s decision; how events go over the wire is [`crate::http`]'s.

mod differ;

use crate::registry::Registry;
use crate::stream::status::{PublisherStatus, Status, Viewers};
use differ::{Change, Differ};
use relay_node::clock::{self, ClockPair};
use serde::Serialize;
use skywave_media::name::StreamName;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast;
use utoipa::ToSchema;

/// Events that wait for a slow listener; one that is further behind starts over with a snapshot.
const QUEUE: usize = 256;

/// Changes are gathered for so long, so that many streams cost one look and not one each.
const GATHER: Duration = Duration::from_millis(50);

/// One event, as every listener gets it.
#[derive(Debug)]
pub(crate) struct Numbered {
    /// Rises by one from event to event, over all streams.
    pub(crate) id: u64,
    /// The stream it is about.
    pub(crate) stream: StreamName,
    /// Its type.
    pub(crate) name: &'static str,
    /// What it says, in JSON.
    pub(crate) data: String,
}

/// `data` of `publisher-connected` and `publisher-gone`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PublisherEvent {
    /// Stream name.
    #[schema(value_type = String)]
    stream: StreamName,
    publisher: PublisherStatus,
}

/// `data` of `viewers`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ViewersEvent {
    /// Stream name.
    #[schema(value_type = String)]
    stream: StreamName,
    viewers: Viewers,
}

/// `data` of `stream-ended`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EndedEvent {
    /// Stream name.
    #[schema(value_type = String)]
    stream: StreamName,
}

/// What a new listener gets: the streams on air as they are, and every event from then on.
pub(crate) struct Listening {
    /// The newest event that the snapshot already has in it.
    pub(crate) id: u64,
    /// Every stream on air.
    pub(crate) snapshot: Vec<Arc<Status>>,
    /// What happens from then on.
    pub(crate) events: broadcast::Receiver<Arc<Numbered>>,
}

/// Where listeners meet what happens.
pub(crate) struct EventHub {
    registry: Arc<Registry>,
    state: Mutex<HubState>,
    sender: broadcast::Sender<Arc<Numbered>>,
}

#[derive(Default)]
struct HubState {
    differ: Differ,
    last_id: u64,
}

impl EventHub {
    /// A hub of what this registry's streams do. Nothing is told until [`EventHub::run`] runs.
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        let (sender, _) = broadcast::channel(QUEUE);
        Self { registry, state: Mutex::default(), sender }
    }

    /// Begins to listen.
    pub(crate) fn listen(&self) -> Listening {
        let mut state = self.lock();
        // The look is told to those who listen already, and so the snapshot is the state right after the event `id`.
        self.look(&mut state);
        let snapshot = state.differ.streams().cloned().collect();
        Listening { id: state.last_id, snapshot, events: self.sender.subscribe() }
    }

    /// Tells listeners what happens, for ever. While nobody listens nothing is looked at.
    pub(crate) async fn run(&self) {
        loop {
            let held_back = self.lock().differ.poll_timeout();
            let due = async {
                match held_back {
                    Some(at) => {
                        tokio::time::sleep_until(ClockPair::new().instant(at).into()).await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.registry.next_change() => {}
                () = due => {}
            }
            tokio::time::sleep(GATHER).await;
            let mut state = self.lock();
            if self.sender.receiver_count() > 0 {
                self.look(&mut state);
            } else {
                // A new listener begins with a snapshot; until then there is nothing to compare.
                state.differ = Differ::default();
            }
        }
    }

    fn look(&self, state: &mut HubState) {
        state.differ.handle_list(self.registry.statuses(), clock::now());
        while let Some(change) = state.differ.poll_change() {
            state.last_id += 1;
            let event = Arc::new(numbered(state.last_id, change));
            // An error says that nobody listens, which harms nobody.
            let _nobody = self.sender.send(event);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HubState> {
        // A panic in the differ leaves a list that is a little old; the next look mends it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn numbered(id: u64, change: Change) -> Numbered {
    let (stream, name, data) = match change {
        Change::Started(status) => (status.name.clone(), "stream-started", json(&*status)),
        Change::Updated(status) => (status.name.clone(), "stream-updated", json(&*status)),
        Change::PublisherConnected { stream, publisher } => {
            (stream.clone(), "publisher-connected", json(&PublisherEvent { stream, publisher }))
        }
        Change::PublisherGone { stream, publisher } => {
            (stream.clone(), "publisher-gone", json(&PublisherEvent { stream, publisher }))
        }
        Change::Viewers { stream, viewers } => {
            (stream.clone(), "viewers", json(&ViewersEvent { stream, viewers }))
        }
        Change::Ended { stream } => (stream.clone(), "stream-ended", json(&EndedEvent { stream })),
    };
    Numbered { id, stream, name, data }
}

/// The documents of this API as text.
pub(crate) fn json(document: &impl Serialize) -> String {
    serde_json::to_string(document).expect("plain structs without maps can always be written")
}
