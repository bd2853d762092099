//! Puts one pipeline together, keeps it together, and takes it apart in order: source and runner first, then the
//! connections that carry their last results.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use millwright_pipeline::{MqttSource, Pipeline, Qos, Sink, Source};
use rumqttc::{AsyncClient, EventLoop, SubscribeFilter};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::backoff::Backoff;
use super::gauge::{Gauge, Part};
use super::intake::Intake;
use super::item::Item;
use super::mqtt::{self, Connection, Ledger, Login, Session, Topics};
use super::queue::Queue;
use super::runner::Runner;
use super::show::Show;
use super::sinks::{self, Manner, Outlet, Publisher, SinkGauge, Sinks};
use super::{Parts, camera, directory, stopped, video};

/// Longest wait for the input in progress and its results at the end.
const FINISH_LIMIT: Duration = Duration::from_secs(5);

/// Waits before a pipeline whose part ended badly starts anew.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Runs one pipeline until `stop`.
pub(super) async fn run(
    pipeline: Pipeline,
    parts: Parts,
    gauge: Gauge,
    mut stop: watch::Receiver<bool>,
) {
    let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
    loop {
        let assembly = Assembly {
            pipeline: &pipeline,
            parts: &parts,
            gauge: &gauge,
            flow: JoinSet::new(),
            ends: JoinSet::new(),
        };
        assembly.run(&mut stop).await;
        parts.table.doors.close(pipeline.name());
        if *stop.borrow() {
            break;
        }
        gauge.trouble(
            Part::Source,
            "a part of the pipeline ended badly; it starts again",
        );
        tokio::select! {
            () = stopped(&mut stop) => break,
            () = tokio::time::sleep(backoff.next()) => {}
        }
    }
    parts.table.lock().remove(pipeline.name());
    Show::new(parts.board, pipeline.name().as_str()).end();
}

/// One life of a pipeline.
struct Assembly<'a> {
    pipeline: &'a Pipeline,
    parts: &'a Parts,
    gauge: &'a Gauge,
    /// Source and runner.
    flow: JoinSet<()>,
    /// What carries results away.
    ends: JoinSet<()>,
}

/// What tells tasks to end.
struct Signals {
    /// Source and runner.
    halt: watch::Receiver<bool>,
    /// Connections.
    hang_up: watch::Receiver<bool>,
}

/// The connection of an MQTT source, before it is polled.
struct SourceClient {
    client: AsyncClient,
    events: EventLoop,
    source: MqttSource,
}

impl Assembly<'_> {
    /// Until `stop`, or until a part ends badly.
    async fn run(mut self, stop: &mut watch::Receiver<bool>) {
        let (halt, halted) = watch::channel(false);
        let (hang_up, hung_up) = watch::channel(false);
        let signals = Signals {
            halt: halted,
            hang_up: hung_up,
        };
        if self.assemble(&signals, stop).await.is_some() {
            tokio::select! {
                () = stopped(stop) => {}
                ended = self.flow.join_next() => tell(self.pipeline, ended),
            }
        }
        halt.send_replace(true);
        finish(self.flow).await;
        hang_up.send_replace(true);
        finish(self.ends).await;
    }

    /// Starts every part; `None` when the agent ends first.
    async fn assemble(
        &mut self,
        signals: &Signals,
        stop: &mut watch::Receiver<bool>,
    ) -> Option<()> {
        let pressure = &self.pipeline.spec.back_pressure;
        let every = Duration::from_millis(u64::from(pressure.every_ms.unwrap_or_default()));
        let queue = Queue::new(self.pipeline.policy(), pressure.queue, every);
        let source = match &self.pipeline.spec.source {
            Source::Mqtt(mqtt) => Some(self.source_client(mqtt, stop).await?),
            Source::Camera(_) | Source::Video(_) | Source::Directory(_) | Source::Push(_) => None,
        };
        let client = source.as_ref().map(|source| source.client.clone());
        let sinks = self.sinks(client, signals, stop).await?;
        let show = Show::new(self.parts.board.clone(), self.pipeline.name().as_str());
        let runner = Runner::new(
            self.pipeline,
            (queue.clone(), self.gauge.clone()),
            (self.parts.models.clone(), sinks, show),
            signals.halt.clone(),
        );
        self.flow.spawn(runner.run());
        self.source(queue, source, signals);
        Some(())
    }

    async fn source_client(
        &self,
        source: &MqttSource,
        stop: &mut watch::Receiver<bool>,
    ) -> Option<SourceClient> {
        let default = || format!("{}-{}", self.parts.client_prefix, self.pipeline.name());
        let id = source.client_id.clone().unwrap_or_else(default);
        let session = match source.qos {
            Qos::AtLeastOnce => Session::Kept,
            Qos::AtMostOnce => Session::Clean,
        };
        let login = Login::new(&source.broker(), id, session);
        let (client, events) = mqtt::login(&login, self.gauge, Part::Source, stop).await?;
        Some(SourceClient {
            client,
            events,
            source: source.clone(),
        })
    }

    fn source(&mut self, queue: Queue<Item>, client: Option<SourceClient>, signals: &Signals) {
        let mut intake = Intake::new(self.pipeline, queue, self.gauge.clone());
        let mut readers = Intake::readers(self.pipeline);
        if let Some(client) = client {
            return self.topics(client, intake, signals);
        }
        let Some(reader) = readers.pop() else { return };
        let (gauge, mut halt) = (self.gauge.clone(), signals.halt.clone());
        let source = self.pipeline.spec.source.clone();
        if let Source::Push(_) = source {
            gauge.well(Part::Source);
            self.parts
                .table
                .doors
                .open(self.pipeline.name(), reader, intake);
            return;
        }
        self.flow.spawn(async move {
            let taking = async {
                match source {
                    Source::Camera(camera) => camera::run(camera, reader, intake, gauge).await,
                    Source::Directory(watched) => {
                        directory::run(watched, reader, intake, gauge).await;
                    }
                    Source::Video(device) => {
                        video::run(&device, &reader, &mut intake, &gauge).await
                    }
                    Source::Mqtt(_) | Source::Push(_) => {}
                }
            };
            tokio::select! {
                () = taking => {}
                () = stopped(&mut halt) => {}
            }
        });
    }

    fn topics(&mut self, client: SourceClient, intake: Intake, signals: &Signals) {
        let SourceClient {
            client,
            events,
            source,
        } = client;
        let (deliver, deliveries) = mqtt::deliveries();
        let current = Arc::new(AtomicU64::new(0));
        let filters = source.topics.iter().map(|topic| SubscribeFilter {
            path: topic.topic.clone(),
            qos: mqtt::qos(source.qos),
        });
        let connection = Connection {
            broker: source.broker.clone(),
            client: client.clone(),
            current: Arc::clone(&current),
            filters: filters.collect(),
            deliver,
            gauge: self.gauge.clone(),
            part: Part::Source,
        };
        self.ends
            .spawn(connection.run(events, signals.hang_up.clone()));
        let topics = Topics {
            readers: Intake::readers(self.pipeline),
            source,
            ledger: Ledger::new(client, current),
        };
        self.flow
            .spawn(topics.run(intake, deliveries, signals.halt.clone()));
    }

    /// `client` is that of the source, if it is a broker.
    async fn sinks(
        &mut self,
        client: Option<AsyncClient>,
        signals: &Signals,
        stop: &mut watch::Receiver<bool>,
    ) -> Option<Sinks> {
        let mut outlets = Vec::new();
        for (number, sink) in self.pipeline.spec.sinks.iter().enumerate() {
            match sink {
                Sink::Mqtt(topic) => match (topic.own_broker(), &client) {
                    (Some(broker), _) => {
                        let name = self.pipeline.name();
                        let id = format!("{}-{name}-sink{number}", self.parts.client_prefix);
                        let login = Login::new(&broker, id, Session::Clean);
                        let (client, events) =
                            mqtt::login(&login, self.gauge, Part::Sink, stop).await?;
                        self.carry(broker.broker, client.clone(), events, signals);
                        let publisher = Publisher::new(client, topic, Manner::Passing);
                        outlets.push(Outlet::Topic(publisher));
                    }
                    (None, Some(client)) => {
                        let publisher = Publisher::new(client.clone(), topic, Manner::Waiting);
                        outlets.push(Outlet::Topic(publisher));
                    }
                    // The document was checked: a sink without a broker has the source's.
                    (None, None) => {}
                },
                Sink::Webhook(webhook) => {
                    let (hook, results) = sinks::hook(webhook);
                    let gauge = SinkGauge(self.gauge.clone());
                    self.ends
                        .spawn(sinks::deliver_webhook(webhook.clone(), results, gauge));
                    outlets.push(Outlet::Hook(hook));
                }
                Sink::HardExamples(rules) => outlets.extend(self.keep(rules)),
            }
        }
        Some(Sinks::new(outlets, self.gauge.clone()))
    }

    fn carry(&mut self, broker: &str, client: AsyncClient, events: EventLoop, signals: &Signals) {
        // Nothing is received: a sink subscribes to nothing.
        let (deliver, _) = mpsc::channel(1);
        let connection = Connection {
            broker: broker.to_owned(),
            client,
            current: Arc::default(),
            filters: Vec::new(),
            deliver,
            gauge: self.gauge.clone(),
            part: Part::Sink,
        };
        self.ends
            .spawn(connection.run(events, signals.hang_up.clone()));
    }

    fn keep(&mut self, rules: &millwright_pipeline::HardExamples) -> Option<Outlet> {
        let root = self.parts.hard_examples.clone()?;
        let models = self.parts.models.clone();
        let (keeper, examples) = sinks::kept::keeper(rules.clone(), models);
        let (name, rules) = (self.pipeline.name().clone(), rules.clone());
        let gauge = self.gauge.clone();
        self.ends
            .spawn_blocking(move || sinks::kept::write(&root, &name, &rules, examples, &gauge));
        Some(Outlet::Kept(keeper))
    }
}

/// Waits for tasks that were told to end.
async fn finish(mut tasks: JoinSet<()>) {
    let finish = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(FINISH_LIMIT, finish).await.is_err() {
        tracing::warn!("a pipeline did not end in time; inputs that were not answered come again");
    }
}

fn tell(pipeline: &Pipeline, ended: Option<Result<(), tokio::task::JoinError>>) {
    let name = pipeline.name();
    match ended {
        Some(Err(error)) => tracing::error!(pipeline = %name, "a part ended badly: {error}"),
        Some(Ok(())) | None => tracing::error!(pipeline = %name, "a part ended by itself"),
    }
}
