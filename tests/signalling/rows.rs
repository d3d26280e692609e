//! A table of clauses and how one is told from another when it fails.

use crate::server::Server;
use anyhow::Result;
use std::future::Future;
use std::pin::Pin;

/// A check of one clause.
pub(crate) type Check = for<'a> fn(&'a Server) -> Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// A table of `"clause" => check` rows.
macro_rules! rows {
    ($($clause:literal => $check:path,)+) => {
        [$(($clause, (|server| Box::pin($check(server))) as $crate::rows::Check)),+]
    };
}
pub(crate) use rows;

/// Runs every row and fails with the names of those that did not hold.
pub(crate) async fn hold(server: &Server, rows: &[(&str, Check)]) {
    let mut broken = Vec::new();
    for (clause, check) in rows {
        if let Err(error) = check(server).await {
            broken.push(format!("{clause}\n    {error:#}"));
        }
    }
    assert!(
        broken.is_empty(),
        "{} of {} clauses do not hold:\n{}",
        broken.len(),
        rows.len(),
        broken.join("\n")
    );
}
