//! Watches Skywave as a viewer would, with real browsers and players; knows only URLs and the `skywave` binary.
//!
//! What belongs here: starting the server and the players as processes, waiting for what they show, and measuring it
//! (pictures, sound, skew, spectrum, playlists). What does not: any type of the server itself. All that is known of the
//! server stands in [`contract`].
//!
//! Every wait has a deadline and says in its error what was waited for ([`wait`]); every process ends with its handle.

mod alone;
pub mod browser;
pub mod chromium;
pub mod contract;
mod driver;
pub mod exposition;
pub mod ffmpeg;
pub mod firefox;
pub mod gstreamer;
pub mod hls_check;
pub mod hls_client;
pub mod hls_page;
pub mod load;
pub mod mp4;
pub mod network;
pub mod offers;
pub mod proc;
pub mod process;
pub mod publisher;
pub mod server;
pub mod skew;
pub mod small_disk;
pub mod spectrum;
pub mod static_server;
pub mod turn;
pub mod udp_link;
pub mod viewer;
pub mod viewing;
pub mod vlc;
pub mod wait;
pub mod whep_page;
