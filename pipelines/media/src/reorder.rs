//! Puts RTP packets back in order and decides when a missing one is lost.
