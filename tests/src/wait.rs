//! Waiting for a condition with a deadline; the only place of the harness where time passes.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at. Short against every promise tested, long against the work of looking.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Looks with `probe` until it finds something, and returns that.
///
/// # Errors
/// When `deadline` passes first: names `what` and the last error the probe met.
pub async fn until<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let begin = Instant::now();
    let mut last_error = None;
    while begin.elapsed() < deadline {
        match probe().await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => last_error = None,
            Err(error) => last_error = Some(error),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    match last_error {
        Some(error) => Err(error.context(format!("no {what} within {deadline:?}"))),
        None => bail!("no {what} within {deadline:?}"),
    }
}
