//! Waits for a condition by polling it until a deadline; never a bare sleep.

use std::future::Future;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::Instant;

/// How often a condition is looked at: short beside anything that is measured, long beside the cost of a look.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Polls `look` until it gives `Some`, and returns that.
///
/// # Errors
/// When `limit` has passed; the text names `what` and the last error of `look`, if it had one. An error of `look` alone is
/// no failure: what is waited for may not be there yet.
pub async fn until<T, F, Fut>(what: &str, limit: Duration, look: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Option<T>>>,
{
    until_looking(LOOK_EVERY, what, limit, look).await
}

/// [`until`] with a look only once per `every`, for looks that cost the server something.
///
/// # Errors
/// As [`until`].
pub async fn until_looking<T, F, Fut>(every: Duration, what: &str, limit: Duration, mut look: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Option<T>>>,
{
    let deadline = Instant::now() + limit;
    loop {
        let last_error = match tokio::time::timeout_at(deadline, look()).await {
            Ok(Ok(Some(value))) => return Ok(value),
            Ok(Ok(None)) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => bail!("waited {limit:?} for {what}; the last look did not end in time"),
        };
        if Instant::now() >= deadline {
            match last_error {
                Some(error) => bail!("waited {limit:?} for {what}; at last: {error:#}"),
                None => bail!("waited {limit:?} for {what}"),
            }
        }
        tokio::time::sleep(every).await;
    }
}
