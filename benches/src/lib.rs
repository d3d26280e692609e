//! Benches and load tools; each prints the figures it measured.
