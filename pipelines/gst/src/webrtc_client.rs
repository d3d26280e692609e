//! What `skywave publish` and `skywave play` have in common: WHIP and WHEP over HTTP, and one connection of `webrtcbin`.
//!
//! What belongs here: whatever does not depend on which way media flows. What does not: lanes (`whip_client`, `whep_client`).

pub(crate) mod connection;
pub(crate) mod deadline;
pub(crate) mod element;
pub(crate) mod guard;
pub(crate) mod ice;
pub(crate) mod signalling;
pub(crate) mod wire;

mod error;

pub use error::ClientError;
pub use signalling::Protocol;
