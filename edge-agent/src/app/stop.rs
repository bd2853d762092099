//! The one signal to end: SIGTERM or SIGINT, seen by every task.

use std::future::Future;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Tells whether the agent is to end. Clones see the same.
#[derive(Clone, Debug)]
pub(super) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Resolves waits at the first SIGTERM or SIGINT.
    pub(super) fn on_signals() -> std::io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("ending");
            sender.send_replace(true);
        });
        Ok(Self(receiver))
    }

    /// Resolves when the agent is to end.
    pub(super) fn wait(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut receiver = self.0.clone();
        async move {
            // Closed only after it was true.
            let _ = receiver.wait_for(|stop| *stop).await;
        }
    }
}
