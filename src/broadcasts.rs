//! What is on air, for everybody who wants to be told of changes: one look at the node per stream and interval, however many listen.

use relay_node::{BroadcastInfo, Node};
use skywave_media::name::StreamName;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

/// How often the node is looked at.
const INTERVAL: Duration = Duration::from_millis(500);

/// Streams that somebody listens to. Of others nothing is kept.
#[derive(Default)]
pub(crate) struct Broadcasts {
    feeds: Mutex<BTreeMap<StreamName, watch::Sender<Option<BroadcastInfo>>>>,
}

impl Broadcasts {
    /// What is on air under this name, now and whenever it changes; `None` when nothing is.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        node: &Arc<Node>,
        stream: &StreamName,
    ) -> watch::Receiver<Option<BroadcastInfo>> {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = feeds.get(stream) {
            return sender.subscribe();
        }
        let (sender, receiver) = watch::channel(node.broadcast(stream.as_str()));
        feeds.insert(stream.clone(), sender);
        tokio::spawn(Arc::clone(self).feed(Arc::downgrade(node), stream.clone()));
        receiver
    }

    /// Looks at the node until nobody listens or the node is gone.
    async fn feed(self: Arc<Self>, node: Weak<Node>, stream: StreamName) {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let now = node.upgrade().map(|node| node.broadcast(stream.as_str()));
            // Under the lock, so that nobody subscribes between the look at the listeners and the feed's end.
            let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
            let listened = feeds.get(&stream).is_some_and(|sender| sender.receiver_count() > 0);
            let (Some(now), true) = (now, listened) else {
                feeds.remove(&stream);
                return;
            };
            if let Some(sender) = feeds.get(&stream) {
                sender.send_if_modified(|before| {
                    let changed = *before != now;
                    *before = now;
                    changed
                });
            }
        }
    }
}
