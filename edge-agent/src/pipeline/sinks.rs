//! Where results go. A sink that is slow or away loses results, which is counted, and holds up nobody; only what goes
//! back to the broker an input came from is waited for, because the input's acknowledgement follows it.

pub(super) mod kept;
mod webhook;

use bytes::Bytes;
use edge_vision::Decoded;
use millwright_pipeline::{MqttSink, When};
use rumqttc::{AsyncClient, QoS};

use super::gauge::{Count, Gauge, Part};
use super::outcome::Outcome;
use kept::Keeper;
pub(super) use webhook::{Hook, deliver as deliver_webhook, hook};

/// One topic.
#[derive(Debug)]
pub(super) struct Publisher {
    client: AsyncClient,
    topic: String,
    picture_topic: Option<String>,
    when: When,
    manner: Manner,
}

/// Whether results wait for the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// They do: an acknowledgement follows on the same connection.
    Waiting,
    /// They are lost while it is away.
    Passing,
}

/// One sink.
#[derive(Debug)]
pub(super) enum Outlet {
    /// A topic.
    Topic(Publisher),
    /// A web server.
    Hook(Hook),
    /// The disk.
    Kept(Keeper),
}

/// Every sink of one pipeline.
#[derive(Debug)]
pub(super) struct Sinks {
    outlets: Vec<Outlet>,
    gauge: Gauge,
}

impl Publisher {
    pub(super) fn new(client: AsyncClient, sink: &MqttSink, manner: Manner) -> Self {
        Self {
            client,
            topic: sink.topic.clone(),
            picture_topic: sink.picture_topic.clone(),
            when: sink.when,
            manner,
        }
    }

    /// Whether it was handed to the connection.
    async fn publish(&self, outcome: &Outcome) -> bool {
        let mut taken = self.hand_over(&self.topic, outcome.json.clone()).await;
        let drawn = outcome
            .answer
            .as_ref()
            .and_then(|answer| answer.drawn.clone());
        if let (Some(topic), Some(jpeg)) = (&self.picture_topic, drawn) {
            taken &= self.hand_over(topic, jpeg).await;
        }
        taken
    }

    async fn hand_over(&self, topic: &str, payload: Bytes) -> bool {
        let handed = match self.manner {
            Manner::Waiting => {
                self.client
                    .publish_bytes(topic, QoS::AtLeastOnce, false, payload)
                    .await
            }
            Manner::Passing => self
                .client
                .try_publish(topic, QoS::AtLeastOnce, false, payload),
        };
        handed.is_ok()
    }
}

impl Sinks {
    pub(super) fn new(outlets: Vec<Outlet>, gauge: Gauge) -> Self {
        Self { outlets, gauge }
    }

    /// Whether somebody will want the picture of an answer.
    pub(super) fn want_picture(&self, decoded: Option<&Decoded>) -> bool {
        let wanted = |when: When| match when {
            When::Always => true,
            When::Anomaly => decoded.is_some_and(|decoded| decoded.anomaly == Some(true)),
            When::Detection => decoded.is_some_and(|decoded| !decoded.detections.is_empty()),
            When::Failure => false,
        };
        self.outlets.iter().any(|outlet| match outlet {
            Outlet::Topic(topic) => topic.picture_topic.is_some() && wanted(topic.when),
            Outlet::Hook(_) | Outlet::Kept(_) => false,
        })
    }

    /// Hands one outcome to every sink that takes it.
    pub(super) async fn deliver(&mut self, outcome: Outcome) {
        for outlet in &mut self.outlets {
            let taken = match outlet {
                Outlet::Topic(topic) if outcome.is(topic.when) => topic.publish(&outcome).await,
                Outlet::Hook(hook) if outcome.is(hook.when()) => hook.offer(outcome.json.clone()),
                Outlet::Kept(keeper) => keeper.offer(&outcome),
                Outlet::Topic(_) | Outlet::Hook(_) => continue,
            };
            if !taken {
                self.gauge.count(Count::Undelivered);
            }
        }
    }

    /// Keeps an input on which the shadow said something else, where that is wanted.
    pub(super) fn keep_disputed(&mut self, outcome: &Outcome) {
        for outlet in &mut self.outlets {
            if let Outlet::Kept(keeper) = outlet
                && !keeper.offer_disputed(outcome)
            {
                self.gauge.count(Count::Undelivered);
            }
        }
    }
}

/// Tells how a sink is doing that works on its own.
#[derive(Clone, Debug)]
pub(super) struct SinkGauge(pub(super) Gauge);

impl SinkGauge {
    pub(super) fn delivered(&self) {
        self.0.well(Part::Sink);
    }

    pub(super) fn lost(&self, reason: &str) {
        self.0.count(Count::Undelivered);
        self.0.trouble(Part::Sink, reason);
    }
}
