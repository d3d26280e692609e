//! What can go wrong while watching, in words for the person at the keyboard.

use crate::webrtc_client::ClientError;
use std::path::PathBuf;

/// Why watching failed.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    /// The options, the server, the connection or this machine.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The last picture could not be saved.
    #[error("cannot save the picture as {}: {reason}", path.display())]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}
