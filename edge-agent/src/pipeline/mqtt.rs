//! MQTT: topics that feed a pipeline, and topics its results go to.
//!
//! ```text
//! broker ─▶ connection task ── bounded ──▶ intake: read, join ─▶ queue ─▶ runner: infer ─▶ publish result ─┐
//!    ▲                                                                                   └▶ acknowledge ─┤
//!    └──────────────────────── connection task ◀── one ordered queue ─────────────────────────────────────┘
//! ```
//!
//! QoS 1 and a session that outlives the connection: what the broker was not told is done, it sends again.
//! Result and acknowledgement leave in this order on the same connection, so an acknowledged message
//! has a result at the broker. Acknowledgements leave in the order in which messages came, whatever the order in
//! which inputs are done ([`ledger`]). A message whose model has no ready worker waits for it.
//! A message of a connection that is gone is dropped: it comes again, and its old acknowledgement would
//! mean another message.

mod broker;
mod connection;
mod ledger;

use std::time::Duration;

use millwright_pipeline::{MqttSource, Qos};
use rumqttc::{AsyncClient, QoS};
use tokio::sync::{mpsc, watch};

use super::backoff::Backoff;
use super::gauge::{Gauge, Part};
use super::intake::{Intake, Reader};
use super::item::Receipt;
use super::message::Echo;
use super::stopped;
pub(super) use broker::{Login, Session, start_client};
pub(super) use connection::{Connection, Delivery};
pub(super) use ledger::{Ledger, Ticket};

/// Messages received but not handled yet. The connection is read slower long before; this is only reached when
/// a model has no ready worker for minutes.
const MESSAGES_WAITING_MAX: usize = 1024;

/// Results and acknowledgements that wait for the connection.
const REQUESTS_WAITING_MAX: usize = 64;

/// Waits before a broker whose password or certificate cannot be read is tried again: a person mends that.
const LOGIN_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// A client, made now or once its password can be read, and the event loop to poll.
pub(super) async fn login(
    login: &Login,
    gauge: &Gauge,
    part: Part,
    stop: &mut watch::Receiver<bool>,
) -> Option<(AsyncClient, rumqttc::EventLoop)> {
    let mut backoff = Backoff::new(LOGIN_AGAIN.0, LOGIN_AGAIN.1);
    loop {
        match start_client(login) {
            Ok(client) => return Some(client),
            Err(error) => gauge.trouble(part, &error.to_string()),
        }
        tokio::select! {
            () = stopped(stop) => return None,
            () = tokio::time::sleep(backoff.next()) => {}
        }
    }
}

/// The topics of one pipeline.
pub(super) struct Topics {
    pub(super) source: MqttSource,
    pub(super) readers: Vec<Reader>,
    pub(super) ledger: Ledger,
}

impl Topics {
    /// Reads what comes until `stop`, and hands it to `intake`. What waits for a queue with no room then is given up: it
    /// is not acknowledged, so it comes again.
    pub(super) async fn run(
        self,
        intake: Intake,
        deliveries: mpsc::Receiver<Delivery>,
        mut stop: watch::Receiver<bool>,
    ) {
        tokio::select! {
            () = self.serve(intake, deliveries) => {}
            () = stopped(&mut stop) => {}
        }
    }

    async fn serve(self, mut intake: Intake, mut deliveries: mpsc::Receiver<Delivery>) {
        loop {
            let due = intake.due();
            let ticking = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = ticking => intake.tick().await,
                delivery = deliveries.recv() => match delivery {
                    Some(delivery) => self.take(delivery, &mut intake).await,
                    None => return,
                }
            }
        }
    }

    async fn take(&self, delivery: Delivery, intake: &mut Intake) {
        let ticket = self.ledger.enter(&delivery).await;
        let topic = &delivery.message.topic;
        let mut topics = self.source.topics.iter().zip(&self.readers);
        let reader = topics.find(|(listed, _)| rumqttc::matches(topic, &listed.topic));
        let Some((_, reader)) = reader else {
            // Of an older configuration's subscription.
            return ticket.settle().await;
        };
        let receipt = Some(Receipt::Mqtt(ticket));
        let payload = delivery.message.payload;
        intake.take(reader, payload, Echo::default(), receipt).await;
    }
}

/// The promise of a subscription.
pub(super) const fn qos(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
    }
}

/// A channel for what a connection receives.
pub(super) fn deliveries() -> (mpsc::Sender<Delivery>, mpsc::Receiver<Delivery>) {
    mpsc::channel(MESSAGES_WAITING_MAX)
}
