//! Decides whether a publisher's H.264 may be passed through or must be encoded anew.
