//! MQTT source: messages of a topic go through a model, results to another topic.
//!
//! ```text
//! broker ─▶ connection task ── bounded ──▶ handler: infer ─▶ publish result ─▶ acknowledge ─┐
//!    ▲                                                                                      │
//!    └──────────────────────── connection task ◀── one ordered queue ───────────────────────┘
//! ```
//!
//! QoS 1 and a session that outlives the connection: what the broker was not told is done, it sends again.
//! Result and acknowledgement leave in this order on the same connection, so an acknowledged message
//! has a result at the broker. Messages are handled one after another, because acknowledgements must
//! leave in the order in which messages came. A message whose model has no ready worker waits for it.
//! A message of a connection that is gone is dropped: it comes again, and its old acknowledgement would
//! mean another message.

mod config;
mod connection;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rumqttc::{AsyncClient, ClientError, Publish, QoS};
use tokio::sync::mpsc;

use super::message;
use crate::serving::models::ActiveModels;
use crate::worker::InferError;
pub use config::{BrokerAddress, ClientId, MqttConfig, MqttConfigError, MqttSource};

/// Messages received but not handled yet. The connection is read slower long before; this is only reached when
/// a model has no ready worker for minutes.
const MESSAGES_WAITING_MAX: usize = 1024;

/// Results and acknowledgements that wait for the connection.
const REQUESTS_WAITING_MAX: usize = 64;

/// Time between two tries while a model has no ready worker. Loading one takes about a second.
const READY_RETRY: Duration = Duration::from_millis(500);

/// Tries of a message whose worker died or hung. One death can be bad luck, a second one is the message.
const DEADLY_TRIES_MAX: u32 = 2;

/// Longest wait for the handler and the last acknowledgement at the end.
const FINISH_LIMIT: Duration = Duration::from_secs(5);

/// A message and the connection it came over.
#[derive(Debug)]
struct Delivery {
    message: Publish,
    connection: u64,
}

/// Takes messages until `shutdown` resolves; the message in progress is finished.
pub async fn run(config: MqttConfig, models: ActiveModels, shutdown: impl Future<Output = ()>) {
    let mut options = config.options();
    options
        .set_clean_session(false)
        .set_manual_acks(true)
        .set_keep_alive(connection::KEEP_ALIVE)
        .set_max_packet_size(connection::PACKET_BYTES_MAX, connection::PACKET_BYTES_MAX);
    let (client, mut events) = AsyncClient::new(options, REQUESTS_WAITING_MAX);
    // A result and its acknowledgement are two small packets: the second must not wait for an answer to the first.
    events.network_options.set_tcp_nodelay(true);
    let (deliver, deliveries) = mpsc::channel(MESSAGES_WAITING_MAX);
    let current = Arc::new(AtomicU64::new(0));
    let (stop, stopped) = tokio::sync::watch::channel(());
    let connection = connection::Connection {
        config: config.clone(),
        client: client.clone(),
        current: Arc::clone(&current),
        deliver,
    };
    let connecting = tokio::spawn(connection.run(events));
    let handler = Handler {
        sources: config.sources,
        models,
        client: client.clone(),
        current,
        stopped,
    };
    let handling = tokio::spawn(handler.run(deliveries));
    shutdown.await;
    drop(stop);
    let finish = async {
        let _ = handling.await;
        let _ = client.disconnect().await;
        let _ = connecting.await;
    };
    if tokio::time::timeout(FINISH_LIMIT, finish).await.is_err() {
        tracing::warn!(broker = %config.broker, "MQTT did not end in time; unacknowledged messages come again");
    }
}

/// Gives messages to models, one after another.
struct Handler {
    sources: Vec<MqttSource>,
    models: ActiveModels,
    client: AsyncClient,
    /// Number of the connection that is open.
    current: Arc<AtomicU64>,
    /// Closed when the agent ends.
    stopped: tokio::sync::watch::Receiver<()>,
}

impl Handler {
    async fn run(mut self, mut deliveries: mpsc::Receiver<Delivery>) {
        loop {
            let mut stopped = self.stopped.clone();
            let delivery = tokio::select! {
                biased;
                _ = stopped.changed() => return,
                delivery = deliveries.recv() => delivery,
            };
            let Some(delivery) = delivery else { return };
            if self.is_current(&delivery) && self.handle(&delivery).await.is_err() {
                // The connection task is gone.
                return;
            }
        }
    }

    /// Answers and acknowledges one message, unless its connection ends meanwhile.
    async fn handle(&mut self, delivery: &Delivery) -> Result<(), ClientError> {
        let topic = &delivery.message.topic;
        let source = self
            .sources
            .iter()
            .find(|source| rumqttc::matches(topic, &source.topic));
        if let Some(source) = source.cloned() {
            let Some(result) = self.answer(&source, delivery).await else {
                return Ok(());
            };
            self.client
                .publish(source.result_topic, QoS::AtLeastOnce, false, result)
                .await?;
        }
        if self.is_current(delivery) {
            self.client.ack(&delivery.message).await?;
        }
        Ok(())
    }

    /// The result of one message; `None` when it should come again.
    async fn answer(&mut self, source: &MqttSource, delivery: &Delivery) -> Option<Vec<u8>> {
        let mut deadly_tries = 0;
        loop {
            let error = match self.models.find(&source.model, None) {
                Ok(worker) => {
                    let manifest = &worker.spec().manifest;
                    let (echo, input) = message::parse(&delivery.message.payload, manifest);
                    let input = match input {
                        Ok(input) => input,
                        Err(error) => return Some(message::refused(&echo, &source.model, &error)),
                    };
                    match self.models.infer(&source.model, None, &input).await {
                        Ok(output) => return Some(message::result(&echo, &output)),
                        Err(error) if is_final(&error, &mut deadly_tries) => {
                            return Some(message::unanswered(&echo, &source.model, &error));
                        }
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            tracing::debug!(model = %source.model, topic = source.topic, "message waits: {error}");
            tokio::select! {
                _ = self.stopped.changed() => return None,
                () = tokio::time::sleep(READY_RETRY) => {}
            }
            if !self.is_current(delivery) {
                return None;
            }
        }
    }

    fn is_current(&self, delivery: &Delivery) -> bool {
        self.current.load(Ordering::Acquire) == delivery.connection
    }
}

/// Whether trying again could not help, or has been tried often enough.
fn is_final(error: &InferError, deadly_tries: &mut u32) -> bool {
    match error {
        InferError::UnknownModel(_)
        | InferError::UnknownVersion { .. }
        | InferError::NotReady(_)
        | InferError::Busy { .. }
        | InferError::SequencesFull { .. } => false,
        InferError::WorkerEnded(_) | InferError::Timeout { .. } => {
            *deadly_tries += 1;
            *deadly_tries >= DEADLY_TRIES_MAX
        }
        InferError::UnknownInput { .. }
        | InferError::MissingInput { .. }
        | InferError::DuplicateInput(_)
        | InferError::UnknownOutput { .. }
        | InferError::Datatype { .. }
        | InferError::Shape { .. }
        | InferError::Size { .. }
        | InferError::Strings { .. }
        | InferError::UnknownSequence { .. }
        | InferError::TooLarge { .. }
        | InferError::Refused { .. }
        | InferError::Failed { .. } => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_kills_its_worker_twice_is_given_up_and_an_absent_model_is_waited_for() {
        let model: millwright_proto::ids::ModelVersion = "a@1".parse().unwrap();
        let mut tries = 0;
        assert!(!is_final(
            &InferError::NotReady(model.model.clone()),
            &mut tries
        ));
        assert!(!is_final(
            &InferError::WorkerEnded(model.clone()),
            &mut tries
        ));
        assert!(is_final(
            &InferError::WorkerEnded(model.clone()),
            &mut tries
        ));
        assert!(is_final(
            &InferError::DuplicateInput("x".to_owned()),
            &mut tries
        ));
    }
}
