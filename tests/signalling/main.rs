//! WHIP and WHEP clause by clause, against the real binary: each row of a table is one MUST or SHOULD that concerns a server, with the clause
//! in its name. A failing row is named; the others still run.

#![allow(clippy::unwrap_used, reason = "a test may end where something is not as it should be")]

mod access;
mod ice_servers;
mod offers;
mod rows;
mod server;
mod whep_draft;
mod whip_rfc9725;
