//! The connection to a broker: connect, subscribe, receive, connect again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rumqttc::{
    AsyncClient, ConnAck, ConnectionError, Event, EventLoop, Incoming, Outgoing, Publish, QoS,
    SubscribeFilter,
};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::super::backoff::Backoff;
use super::super::gauge::{Count, Gauge, Part};
use super::super::stopped;
use super::MESSAGES_WAITING_MAX;

/// Time after which a silent connection is probed; a broker that does not answer is noticed within twice that.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Largest packet in either direction. Larger than the largest message that is taken, so that one that is
/// too long can be answered with an error; beyond this the connection ends.
pub(super) const PACKET_BYTES_MAX: usize = 16 * 1024 * 1024;

/// First wait before connecting again, doubled each time.
const BACKOFF_MIN: Duration = Duration::from_millis(500);

/// Longest wait before connecting again: a broker that restarts is found within half a minute.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Messages that may wait before the connection is read slower. The broker keeps the rest: it has the disk.
/// Many brokers send about 20 before the first is acknowledged; some send all they have.
const MESSAGES_WAITING_GOAL: usize = 64;

/// Pause before the next read while more than that wait: about ten messages of a small model.
const PAUSE_SHORT: Duration = Duration::from_millis(20);

/// Pause while very many wait, as when a model has no ready worker; still well within the keep-alive.
const PAUSE_LONG: Duration = Duration::from_secs(1);

/// Time the last results and acknowledgements get to leave when the agent ends.
const GOODBYE_LIMIT: Duration = Duration::from_secs(2);

/// A message and the connection it came over.
#[derive(Debug)]
pub(in crate::pipeline) struct Delivery {
    pub(super) message: Publish,
    pub(super) connection: u64,
}

/// Owns the event loop; never waits for who handles messages, so that results can always leave.
pub(in crate::pipeline) struct Connection {
    /// For logs and reasons.
    pub(in crate::pipeline) broker: String,
    pub(in crate::pipeline) client: AsyncClient,
    /// Number of the connection that is open; a new one at every end.
    pub(in crate::pipeline) current: Arc<AtomicU64>,
    /// What is taken; nothing for a sink.
    pub(in crate::pipeline) filters: Vec<SubscribeFilter>,
    pub(in crate::pipeline) deliver: mpsc::Sender<Delivery>,
    pub(in crate::pipeline) gauge: Gauge,
    /// Whose state it is.
    pub(in crate::pipeline) part: Part,
}

/// What one step of the event loop means.
enum Step {
    /// A new connection is there.
    Opened,
    /// A message waits to be handled.
    Received,
    Continue,
    /// Connect again after a wait.
    Lost(String),
    /// The agent ends.
    Ended,
}

impl Connection {
    /// Until `stop`; results that were handed over before then still leave.
    pub(in crate::pipeline) async fn run(
        self,
        mut events: EventLoop,
        mut stop: watch::Receiver<bool>,
    ) {
        tokio::select! {
            () = self.keep(&mut events) => {}
            () = stopped(&mut stop) => {
                let _ = self.client.try_disconnect();
                let goodbye = async {
                    while !matches!(self.step(&mut events).await, Step::Ended | Step::Lost(_)) {}
                };
                let _ = tokio::time::timeout(GOODBYE_LIMIT, goodbye).await;
            }
        }
    }

    async fn keep(&self, events: &mut EventLoop) {
        let mut backoff = Backoff::new(BACKOFF_MIN, BACKOFF_MAX);
        let mut opened: Option<Instant> = None;
        loop {
            match self.step(events).await {
                Step::Opened => {
                    opened = Some(Instant::now());
                    self.gauge.well(self.part);
                }
                Step::Received => self.hold_back().await,
                Step::Continue => {}
                Step::Ended => return,
                Step::Lost(reason) => {
                    // Before anything else: acknowledgements of this connection mean nothing on the next.
                    self.current.fetch_add(1, Ordering::AcqRel);
                    events.clean();
                    // What was read from the old connection but not looked at comes again.
                    events.state.events.clear();
                    let lasted = opened.take().map(|since| since.elapsed());
                    if lasted.is_some_and(|lasted| lasted > BACKOFF_MAX) {
                        backoff.reset();
                    }
                    let reason = format!("MQTT broker {} is away: {reason}", self.broker);
                    self.gauge.trouble(self.part, &reason);
                    tokio::time::sleep(backoff.next()).await;
                }
            }
        }
    }

    /// Reads slower while messages wait. It never stops reading for good: acknowledgements of results come
    /// the same way, and the handler may wait for those.
    async fn hold_back(&self) {
        let waiting = self.deliver.max_capacity() - self.deliver.capacity();
        if waiting >= MESSAGES_WAITING_MAX / 2 {
            tokio::time::sleep(PAUSE_LONG).await;
        } else if waiting >= MESSAGES_WAITING_GOAL {
            tokio::time::sleep(PAUSE_SHORT).await;
        }
    }

    async fn step(&self, events: &mut EventLoop) -> Step {
        match events.poll().await {
            Ok(Event::Incoming(Incoming::ConnAck(answer))) => self.subscribe(&answer),
            Ok(Event::Incoming(Incoming::Publish(message))) => self.receive(message),
            Ok(Event::Outgoing(Outgoing::Disconnect)) | Err(ConnectionError::RequestsDone) => {
                Step::Ended
            }
            Ok(Event::Incoming(_) | Event::Outgoing(_)) => Step::Continue,
            Err(error) => Step::Lost(error.to_string()),
        }
    }

    /// Subscribes again even if the broker kept the session: its topics may be those of an older
    /// configuration.
    fn subscribe(&self, answer: &ConnAck) -> Step {
        tracing::info!(
            broker = self.broker,
            session_kept = answer.session_present,
            "MQTT broker connected"
        );
        if self.filters.is_empty() {
            return Step::Opened;
        }
        match self.client.try_subscribe_many(self.filters.clone()) {
            Ok(()) => Step::Opened,
            Err(error) => Step::Lost(error.to_string()),
        }
    }

    fn receive(&self, message: Publish) -> Step {
        let delivery = Delivery {
            message,
            connection: self.current.load(Ordering::Acquire),
        };
        match self.deliver.try_send(delivery) {
            Ok(()) => Step::Received,
            Err(TrySendError::Closed(_)) => Step::Ended,
            // Sent without guarantee, lost without guarantee.
            Err(TrySendError::Full(delivery)) if delivery.message.qos == QoS::AtMostOnce => {
                self.gauge.count(Count::Received);
                self.gauge.count(Count::Dropped);
                Step::Received
            }
            // Not acknowledged, so it comes again on the next connection.
            Err(TrySendError::Full(_)) => {
                Step::Lost("it sends more messages than are acknowledged".to_owned())
            }
        }
    }
}
