//! The connection to the broker: connect, subscribe, receive, connect again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rumqttc::{
    AsyncClient, ConnAck, ConnectionError, Event, EventLoop, Incoming, Outgoing, Publish, QoS,
    SubscribeFilter,
};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::{Delivery, MqttConfig};

/// Time after which a silent connection is probed; a broker that does not answer is noticed within twice that.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Largest packet in either direction. Larger than the largest message that is taken, so that one that is
/// too long can be answered with an error; beyond this the connection ends.
pub(super) const PACKET_BYTES_MAX: usize = 16 * 1024 * 1024;

/// First wait before connecting again, doubled each time.
const BACKOFF_MIN: Duration = Duration::from_millis(500);

/// Longest wait before connecting again: a broker that restarts is found within half a minute.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Owns the event loop; never waits for the handler, so that results can always leave.
pub(super) struct Connection {
    pub config: MqttConfig,
    pub client: AsyncClient,
    /// Number of the connection that is open; a new one at every end.
    pub current: Arc<AtomicU64>,
    pub deliver: mpsc::Sender<Delivery>,
}

/// What one step of the event loop means.
enum Step {
    Continue,
    /// Connect again at once or after a wait.
    Lost(String),
    /// The agent ends.
    Ended,
}

impl Connection {
    pub(super) async fn run(self, mut events: EventLoop) {
        let mut backoff = BACKOFF_MIN;
        let mut said_away = false;
        loop {
            match self.step(&mut events).await {
                Step::Continue => {
                    if events.network.is_some() && said_away {
                        said_away = false;
                        backoff = BACKOFF_MIN;
                    }
                }
                Step::Ended => return,
                Step::Lost(reason) => {
                    // Before anything else: acknowledgements of this connection mean nothing on the next.
                    self.current.fetch_add(1, Ordering::AcqRel);
                    events.clean();
                    if !said_away {
                        said_away = true;
                        tracing::warn!(broker = %self.config.broker, "MQTT broker is away, trying again: {reason}");
                    }
                    tokio::select! {
                        () = self.deliver.closed() => return,
                        () = tokio::time::sleep(backoff) => {}
                    }
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
            }
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
            broker = %self.config.broker,
            session_kept = answer.session_present,
            "MQTT broker connected"
        );
        let filters = self.config.sources.iter().map(|source| SubscribeFilter {
            path: source.topic.clone(),
            qos: QoS::AtLeastOnce,
        });
        match self.client.try_subscribe_many(filters) {
            Ok(()) => Step::Continue,
            Err(error) => Step::Lost(error.to_string()),
        }
    }

    fn receive(&self, message: Publish) -> Step {
        let delivery = Delivery {
            message,
            connection: self.current.load(Ordering::Acquire),
        };
        match self.deliver.try_send(delivery) {
            Ok(()) => Step::Continue,
            Err(TrySendError::Closed(_)) => Step::Ended,
            // Sent without guarantee, lost without guarantee.
            Err(TrySendError::Full(delivery)) if delivery.message.qos == QoS::AtMostOnce => {
                tracing::debug!(
                    topic = delivery.message.topic,
                    "message dropped: too many are waiting"
                );
                Step::Continue
            }
            // Not acknowledged, so it comes again on the next connection.
            Err(TrySendError::Full(_)) => {
                Step::Lost("it sends more messages than are acknowledged".to_owned())
            }
        }
    }
}
