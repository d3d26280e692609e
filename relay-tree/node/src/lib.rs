//! WebRTC peers (str0m), UDP sockets and fan-out threads of one node. Builds without GStreamer.
