//! `skywave`: a live broadcast media server. See ARCHITECTURE.md for the way of a frame through this tree.

mod app;
mod auth;
mod broadcasts;
mod cli;
mod config;
mod converter;
mod events;
mod http;
mod ingest;
mod machine;
mod metrics;
mod outputs;
mod recordings;
mod registry;
mod sessions;
mod stream;
mod telemetry;
mod tls;
mod turn;
mod worker;

fn main() -> std::process::ExitCode {
    cli::main()
}
