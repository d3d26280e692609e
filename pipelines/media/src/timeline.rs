//! Maps each track's RTP clock onto the stream's one timeline: anchor on arrival, then slew.
