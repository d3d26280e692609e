//! Counters of a node, written by its threads and read by anyone.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counters of one relay thread, since its start.
        #[derive(Debug, Clone, PartialEq, Eq, Default)]
        pub struct ThreadStats {
            /// The addresses it listens on.
            pub addrs: Vec<SocketAddr>,
            $($(#[$doc])* pub $name: u64,)*
        }

        /// The same, as the thread writes them.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: AtomicU64,)*
        }

        impl Counters {
            pub(crate) fn read(&self, addrs: &[SocketAddr]) -> ThreadStats {
                ThreadStats { addrs: addrs.to_vec(), $($name: self.$name.load(Relaxed),)* }
            }
        }

        impl ThreadStats {
            /// The sums over several threads.
            pub fn sum<'a>(threads: impl IntoIterator<Item = &'a Self>) -> Self {
                let mut sum = Self::default();
                for thread in threads {
                    sum.addrs.extend(&thread.addrs);
                    $(sum.$name += thread.$name;)*
                }
                sum
            }
        }
    };
}

counters! {
    /// Sessions alive now.
    sessions,
    /// Sessions that reached `Connected`.
    sessions_connected,
    /// Sessions that ended, for whatever reason.
    sessions_closed,
    /// Datagrams received, wanted or not.
    datagrams_in,
    /// Bytes in them.
    bytes_in,
    /// Datagrams sent.
    datagrams_out,
    /// Bytes in them.
    bytes_out,
    /// Datagrams that belong to no session: strangers, latecomers, STUN for unknown names.
    rejected_unknown,
    /// Datagrams that are neither STUN nor DTLS nor RTP, or too large, or malformed.
    rejected_malformed,
    /// STUN requests for a session that failed its integrity check or came from one address too many.
    rejected_stun,
    /// RTCP from viewers that was forged, damaged or repeated.
    rejected_srtcp,
    /// Datagrams that could not be sent: the kernel would not, or a TCP reader is slow.
    send_errors,
    /// System calls that sent datagrams; one call may send many.
    sends,
    /// Viewers' sessions alive now.
    viewers,
    /// RTP packets sent to viewers, without retransmissions.
    packets_out,
    /// RTP packets sent again because a viewer missed them.
    retransmitted,
    /// Packets that viewers asked for again and that were not to be had any more.
    retransmissions_missed,
    /// Keyframes that viewers asked for; what publishers are asked is `keyframe_requests`.
    keyframes_wanted,
    /// RTP packets handed on.
    packets,
    /// Bytes of their payloads.
    payload_bytes,
    /// RTP packets of simulcast layers that were not chosen.
    packets_other_layers,
    /// Packets and reports dropped because their receiver's queue was full.
    events_dropped,
    /// Keyframe requests sent.
    keyframe_requests,
    /// Faults of ours that ended a session instead of the thread.
    panics,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Relaxed);
    }

    pub(crate) fn one(counter: &AtomicU64) {
        Self::add(counter, 1);
    }
}

/// Counters of a node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeStats {
    /// One entry per relay thread.
    pub threads: Vec<ThreadStats>,
}

impl NodeStats {
    /// The sums over all threads.
    pub fn total(&self) -> ThreadStats {
        ThreadStats::sum(&self.threads)
    }
}
