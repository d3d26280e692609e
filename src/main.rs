//! `skywave`: a live broadcast media server. See ARCHITECTURE.md for the way of a frame through this tree.

mod app;
mod cli;
mod config;
mod http;
mod outputs;
mod registry;
mod stream;
mod telemetry;
mod worker;

fn main() -> std::process::ExitCode {
    cli::main()
}
