//! How long is waited for what.

use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// From the answer to the first packet. ICE and DTLS take tens of milliseconds on a good network; retransmitted
/// handshakes over a bad one take seconds.
pub(crate) const CONNECT_LIMIT: Duration = Duration::from_secs(20);

/// How long an established connection may be without a way before it counts as lost. Consent expires after 30 s
/// (RFC 7675 section 5.1); people do not wait that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Completes at `deadline`, or never.
pub(crate) async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
