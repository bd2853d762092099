//! One simulated agent: the real dialling decisions, the real ledger, a real session; no models and no disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, bail};
use bytes::Bytes;
use edge_core::link::{Dialler, Ended, Probing, Routes, Step, Transport};
use edge_core::outbox::{Content, Cursor, Ledger, Offer, Room, Stream};
use millwright_proto::frame::PROTOCOL_VERSION;
use millwright_proto::link::{
    self, Applied, Downlink, FenceReason, Gap, Hello, Platform, Record, StreamOffer, Uplink,
    Welcome, downlink, uplink,
};
use millwright_summary::{ClockQuality, Window, WindowTime};
use tokio::time::Instant;

use crate::identity::Identity;
use crate::tally::Tally;
use crate::wire::{Dialers, KEEP_ALIVE, Keys, Wire};

/// Records on their way at once, as the agent has it.
const IN_FLIGHT_RECORDS_MAX: u64 = 64;

/// What a simulated outbox may hold: hours of windows.
const QUOTA_BYTES: u64 = 256 * 1024;

/// A series of numbers that a seed fixes (SplitMix64, Steele and others 2014).
#[derive(Clone, Debug)]
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    fn bytes(&mut self) -> Bytes {
        let (a, b) = (self.next().to_be_bytes(), self.next().to_be_bytes());
        Bytes::from([a, b].concat())
    }
}

/// What all agents share.
pub(crate) struct Plant {
    pub(crate) dialers: Dialers,
    pub(crate) tally: Tally,
    pub(crate) began: Instant,
    /// Length of a window.
    pub(crate) window: Duration,
}

impl Plant {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// One agent.
pub(crate) struct Agent {
    plant: Arc<Plant>,
    number: usize,
    identity: Identity,
    keys: Keys,
    numbers: Numbers,
    dialler: Dialler,
    ledger: Ledger,
    instance: Bytes,
    lineage: Bytes,
    secret: Bytes,
    applied: Applied,
    window_at: Instant,
    /// The last phase in which it had a Welcome.
    phase: u64,
}

/// How an attempt to get a session ended.
enum Dialled {
    Live(Wire, Cursor),
    SentAway(Ended),
}

impl Agent {
    pub(crate) fn new(
        plant: Arc<Plant>,
        number: usize,
        identity: Identity,
        routes: Routes,
        mut numbers: Numbers,
    ) -> Result<Self> {
        let first_window =
            numbers.below(u64::try_from(plant.window.as_millis()).unwrap_or(u64::MAX));
        Ok(Self {
            number,
            keys: plant.dialers.keys(&identity)?,
            identity,
            dialler: Dialler::new(routes, Probing::default(), plant.now_ms()),
            ledger: Ledger::new(QUOTA_BYTES),
            instance: numbers.bytes(),
            lineage: numbers.bytes(),
            secret: Bytes::new(),
            applied: Applied::default(),
            window_at: Instant::now() + Duration::from_millis(first_window),
            phase: 0,
            numbers,
            plant,
        })
    }

    /// Runs for good, beginning after `pause`.
    pub(crate) async fn run(mut self, pause: Duration) {
        tokio::time::sleep(pause).await;
        loop {
            let (transport, timeout_ms) = match self.dialler.next(self.plant.now_ms()) {
                Step::Wait { until_ms } => {
                    let until = self.plant.began + Duration::from_millis(until_ms);
                    tokio::time::sleep_until(until).await;
                    continue;
                }
                Step::Dial {
                    transport,
                    timeout_ms,
                } => (transport, timeout_ms),
            };
            self.plant.tally.attempts.fetch_add(1, Ordering::Relaxed);
            let timeout = Duration::from_millis(timeout_ms);
            let dialled = tokio::time::timeout(timeout, Box::pin(self.dial(transport))).await;
            let random = self.numbers.next();
            let tally = &self.plant.tally;
            match dialled {
                Ok(Ok(Dialled::Live(wire, cursor))) => {
                    tally.connected.fetch_add(1, Ordering::Relaxed);
                    self.dialler.welcomed(transport, self.plant.now_ms());
                    let end = Box::pin(self.session(wire, cursor)).await;
                    self.plant.tally.connected.fetch_sub(1, Ordering::Relaxed);
                    self.dialler.ended(end, self.plant.now_ms(), random);
                }
                Ok(Ok(Dialled::SentAway(end))) => {
                    tally.sent_away.fetch_add(1, Ordering::Relaxed);
                    self.dialler.ended(end, self.plant.now_ms(), random);
                }
                Ok(Err(error)) => {
                    tally.failed_because(format!("{transport}: {error:#}"));
                    self.dialler.failed(transport, self.plant.now_ms(), random);
                }
                Err(_) => {
                    tally.failed_because(format!("{transport}: no Welcome in {timeout_ms} ms"));
                    self.dialler.failed(transport, self.plant.now_ms(), random);
                }
            }
        }
    }

    async fn dial(&mut self, transport: Transport) -> Result<Dialled> {
        let began = Instant::now();
        let plant = Arc::clone(&self.plant);
        let mut wire = plant
            .dialers
            .dial(transport, self.number, &self.keys)
            .await?;
        wire.send(&up(uplink::Body::Hello(self.hello()))).await?;
        match wire.receive().await?.body {
            Some(downlink::Body::Welcome(welcome)) => {
                let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                plant.tally.welcomed_after(took);
                let phase = plant.tally.phase.load(Ordering::Relaxed);
                if self.phase < phase {
                    self.phase = phase;
                    plant.tally.back.fetch_add(1, Ordering::Relaxed);
                }
                let cursor = self.welcomed(welcome);
                let applied = self.applied.clone();
                wire.send(&up(uplink::Body::Applied(applied))).await?;
                Ok(Dialled::Live(wire, cursor))
            }
            Some(other) => match self.ending(other) {
                Some(end) => Ok(Dialled::SentAway(end)),
                None => bail!("cloudcore answered Hello with another message"),
            },
            None => bail!("cloudcore answered Hello with nothing"),
        }
    }

    fn hello(&self) -> Hello {
        let offers = Stream::ALL.into_iter().map(|stream| {
            let head = self.ledger.head(stream);
            StreamOffer {
                stream: wire_stream(stream).into(),
                oldest: self.ledger.oldest(stream),
                next: head.next,
                offered_up_to: head.offered_up_to,
            }
        });
        Hello {
            versions: vec![PROTOCOL_VERSION],
            node_uid: Bytes::copy_from_slice(&self.identity.uid),
            instance: self.instance.clone(),
            boot: self.instance.clone(),
            lineage: self.lineage.clone(),
            streams: offers.collect(),
            session_secret: self.secret.clone(),
            applied_generation: self.applied.generation,
            applied_digest: self.applied.digest.clone(),
            agent_version: concat!("sim-", env!("CARGO_PKG_VERSION")).to_owned(),
            platform: Some(Platform {
                os: "linux".to_owned(),
                arch: "x86_64".to_owned(),
                ..Platform::default()
            }),
            ..Hello::default()
        }
    }

    fn welcomed(&mut self, welcome: Welcome) -> Cursor {
        self.secret = welcome.session_secret.clone();
        let through: BTreeMap<i32, u64> = welcome
            .watermarks
            .iter()
            .map(|watermark| (watermark.stream, watermark.through))
            .collect();
        for stream in Stream::ALL {
            let through = through.get(&wire_stream(stream).into()).copied();
            for change in self.ledger.welcome(stream, through.unwrap_or(0)) {
                self.ledger.apply(&change);
            }
        }
        self.ledger.cursor()
    }

    async fn session(&mut self, mut wire: Wire, mut cursor: Cursor) -> Ended {
        let mut ping_at = Instant::now() + KEEP_ALIVE;
        loop {
            let probe_at = self.dialler.probe_at_ms();
            let probe_at = probe_at.map(|ms| self.plant.began + Duration::from_millis(ms));
            let done = tokio::select! {
                message = wire.receive() => match message {
                    Ok(message) => match self.take(message, &mut wire).await {
                        Ok(None) => Ok(()),
                        Ok(Some(end)) => return end,
                        Err(_) => return Ended::Lost,
                    },
                    Err(_) => return Ended::Lost,
                },
                () = tokio::time::sleep_until(self.window_at) => {
                    self.record();
                    Ok(())
                }
                () = tokio::time::sleep_until(ping_at) => {
                    ping_at = Instant::now() + KEEP_ALIVE;
                    wire.keep_alive().await
                }
                () = at(probe_at) => {
                    if self.probe().await {
                        wire.close().await;
                        return Ended::Switching;
                    }
                    Ok(())
                }
            };
            if done.is_err() || self.offer(&mut wire, &mut cursor).await.is_err() {
                return Ended::Lost;
            }
        }
    }

    async fn probe(&mut self) -> bool {
        let timeout = Duration::from_millis(edge_core::link::QUIC_DIAL_MS);
        let probe = self.plant.dialers.probe(self.number, &self.keys);
        let answered = matches!(
            tokio::time::timeout(timeout, Box::pin(probe)).await,
            Ok(Ok(()))
        );
        if answered {
            self.dialler.probe_answered();
        } else {
            let random = self.numbers.next();
            self.dialler.probe_silent(self.plant.now_ms(), random);
        }
        answered
    }

    /// A window is over.
    fn record(&mut self) {
        self.window_at += self.plant.window;
        let next = self.ledger.head(Stream::Summaries).next;
        let bytes = self.payload(next).len() as u64;
        for change in self.ledger.append(&[(Stream::Summaries, bytes)]).changes {
            self.ledger.apply(&change);
        }
    }

    /// What window `number` holds: the ledger keeps only lengths, so it is made again when it is sent.
    fn payload(&self, number: u64) -> Bytes {
        let length_ms = u64::try_from(self.plant.window.as_millis()).unwrap_or(u64::MAX);
        let window = Window::new(WindowTime {
            boot: [1; 16],
            monotonic_start_ms: number * length_ms,
            length_ms,
            coverage_ms: length_ms,
            wall_start_ms: 1_700_000_000_000 + number * length_ms,
            clock: ClockQuality::Synchronized,
            windows: 1,
            interrupted: 0,
        });
        window.encode().into()
    }

    async fn offer(&mut self, wire: &mut Wire, cursor: &mut Cursor) -> Result<()> {
        let head = self.ledger.head(Stream::Summaries);
        let in_flight = head.offered_up_to.saturating_sub(head.acknowledged);
        let room = Room {
            records: usize::try_from(IN_FLIGHT_RECORDS_MAX.saturating_sub(in_flight))?,
            bytes: QUOTA_BYTES,
        };
        let (offers, changes, after) = self.ledger.offer(cursor, room);
        for change in &changes {
            self.ledger.apply(change);
        }
        *cursor = after;
        for offer in offers {
            wire.send(&up(self.offered(&offer))).await?;
        }
        Ok(())
    }

    fn offered(&self, offer: &Offer) -> uplink::Body {
        let stream = wire_stream(offer.stream).into();
        match offer.content {
            // A simulated agent seals no blocks.
            Content::Record { .. } | Content::Block(_) | Content::Piece { .. } => {
                let payload = self.payload(offer.first);
                uplink::Body::Record(Record {
                    stream,
                    first: offer.first,
                    last: offer.last,
                    crc32c: crc32c::crc32c(&payload),
                    payload,
                })
            }
            Content::Gap(_) => uplink::Body::Gap(Gap {
                stream,
                from: offer.first,
                to: offer.last,
                reason: link::GapReason::Evicted.into(),
            }),
        }
    }

    /// Takes a message; `Some` when the session is over.
    async fn take(&mut self, message: Downlink, wire: &mut Wire) -> Result<Option<Ended>> {
        match message.body {
            Some(downlink::Body::Ack(ack)) => {
                let stream = match ack.stream() {
                    link::Stream::Events => Stream::Events,
                    link::Stream::Summaries => Stream::Summaries,
                    link::Stream::Unspecified => return Ok(None),
                };
                let before = self.ledger.head(stream).acknowledged;
                for change in self.ledger.acknowledge(stream, ack.through)? {
                    self.ledger.apply(&change);
                }
                let counted = self.ledger.head(stream).acknowledged - before;
                let tally = &self.plant.tally;
                tally.acknowledged.fetch_add(counted, Ordering::Relaxed);
                Ok(None)
            }
            Some(downlink::Body::Desired(desired)) => {
                self.applied.generation = desired.generation;
                self.applied.digest = desired.digest;
                let applied = self.applied.clone();
                wire.send(&up(uplink::Body::Applied(applied))).await?;
                Ok(None)
            }
            Some(other) => Ok(self.ending(other)),
            None => Ok(None),
        }
    }

    /// What a message that ends a session means for the dialling.
    fn ending(&self, body: downlink::Body) -> Option<Ended> {
        match body {
            downlink::Body::ComeBack(later) => Some(Ended::ComeBack {
                after_ms: later.after_ms.into(),
            }),
            downlink::Body::Fenced(fenced) => {
                self.plant.tally.fenced.fetch_add(1, Ordering::Relaxed);
                let (node, message) = (&self.identity.node, &fenced.message);
                eprintln!("{node} is fenced: {message}");
                Some(match fenced.reason() {
                    FenceReason::Superseded => Ended::Superseded,
                    FenceReason::Cloned | FenceReason::Revoked | FenceReason::Identity => {
                        Ended::Refused
                    }
                    FenceReason::Protocol | FenceReason::Unspecified => Ended::Lost,
                })
            }
            downlink::Body::Unsupported(_) => Some(Ended::Refused),
            downlink::Body::Welcome(_)
            | downlink::Body::Ack(_)
            | downlink::Body::Desired(_)
            | downlink::Body::HardExampleAsk(_) => None,
        }
    }
}

fn up(body: uplink::Body) -> Uplink {
    Uplink { body: Some(body) }
}

const fn wire_stream(stream: Stream) -> link::Stream {
    match stream {
        Stream::Events => link::Stream::Events,
        Stream::Summaries => link::Stream::Summaries,
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
