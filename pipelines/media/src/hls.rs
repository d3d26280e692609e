//! The HLS output as pure machines: segmenter, window, playlists.
