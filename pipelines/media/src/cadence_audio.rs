//! Continuous sound at a constant rate from decoded blocks that come late, early or not at all.
