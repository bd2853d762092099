//! What wakes the control loop.

use std::future::Future;

use millwright_proto::ids::Generation;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::wish::Wish;
use crate::desired::Plan;
use crate::executor::Outcome;
use crate::link::ReceivedDesired;

/// What wakes the loop.
pub(super) enum Event {
    /// The session brought a desired state.
    Desired(ReceivedDesired),
    /// Whoever sits at the box wants something else.
    Wished(Generation, Plan),
    /// A step ended.
    Outcome(Outcome),
    /// The session came or went.
    Link,
    /// Somebody holds the node, or lets it go.
    Hold,
    /// Something can no longer be stored, or can again.
    Storage,
    /// A pipeline of the cloud does better or worse.
    Pipelines,
    /// A wait or a deadline ended.
    Due,
    /// The agent is to end.
    Stop,
}

/// Waits for the next one.
pub(super) async fn next_event(
    wish: &mut Wish,
    outcomes: &mut mpsc::Receiver<Outcome>,
    due: Option<Instant>,
    stop: &mut (impl Future<Output = ()> + Unpin),
) -> Event {
    let due = async {
        match due {
            Some(due) => tokio::time::sleep_until(due).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = stop => Event::Stop,
        Some(outcome) = outcomes.recv() => Event::Outcome(outcome),
        event = from_session(wish) => event,
        () = due => Event::Due,
    }
}

async fn from_session(wish: &mut Wish) -> Event {
    let (received, link, hold) = match wish {
        Wish::Fleet {
            received,
            link,
            hold,
            ..
        } => (received, link, hold),
        Wish::Local(wanted) => {
            if wanted.changed().await.is_err() {
                return std::future::pending().await;
            }
            let (generation, plan) = wanted.borrow_and_update().clone();
            return Event::Wished(generation, plan);
        }
    };
    tokio::select! {
        Ok(()) = received.changed() => match received.borrow_and_update().clone() {
            Some(received) => Event::Desired(received),
            None => Event::Due,
        },
        Ok(()) = link.changed() => Event::Link,
        Ok(()) = hold.changed() => Event::Hold,
        else => std::future::pending().await,
    }
}
