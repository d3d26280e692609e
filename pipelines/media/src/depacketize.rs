//! RTP payloads to coded frames, one small machine per codec.
