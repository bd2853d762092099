//! One batch of reports on its way into a transaction.

use std::collections::BTreeMap;

use fleet_core::ingest::sequence::{self, Place};
use jiff::Timestamp;
use millwright_proto::Digest;
use millwright_proto::ids::{Generation, Lineage, NodeUid};
use millwright_proto::link;
use prost::Message as _;

use super::{Report, SessionKey, StreamName, Violation, payload};
use crate::store::{KnownNode, StoreError, StreamKey, Write};

/// One batch on its way into a transaction.
pub(super) struct Batch<'a> {
    session: &'a SessionKey,
    node: &'a KnownNode,
    now: Timestamp,
    /// Watermarks of the streams it touched, as they will be.
    through: BTreeMap<StreamName, u64>,
    wakes: bool,
}

/// What a batch came to.
pub(super) struct Closed {
    /// Streams it touched, and through which sequence number they are counted.
    pub(super) acknowledge: BTreeMap<StreamName, u64>,
    /// Whether a fact changed that the planner plans by.
    pub(super) wakes: bool,
}

impl<'a> Batch<'a> {
    pub(super) fn new(session: &'a SessionKey, node: &'a KnownNode, now: Timestamp) -> Self {
        Self {
            session,
            node,
            now,
            through: BTreeMap::new(),
            wakes: false,
        }
    }

    /// Moves the watermarks; the caller commits.
    pub(super) async fn close(self, write: &mut Write) -> Result<Closed, StoreError> {
        for (stream, through) in &self.through {
            let key = self.key(*stream);
            write.move_watermark(key, *through, self.now).await?;
        }
        write.touch_session(self.session.uid, self.now).await?;
        Ok(Closed {
            acknowledge: self.through,
            wakes: self.wakes,
        })
    }

    fn key(&self, stream: StreamName) -> StreamKey<'_> {
        stream_key(self.session.uid, self.node, self.session.lineage, stream)
    }

    async fn through(&self, write: &mut Write, stream: StreamName) -> Result<u64, StoreError> {
        match self.through.get(&stream) {
            Some(through) => Ok(*through),
            None => write.watermark(self.key(stream)).await,
        }
    }

    /// Writes one report; a violation writes nothing of it.
    pub(super) async fn take(
        &mut self,
        write: &mut Write,
        report: &Report,
    ) -> Result<Result<(), Violation>, StoreError> {
        match report {
            Report::Record(record) => self.record(write, record).await,
            Report::Gap(gap) => self.gap(write, gap).await,
            Report::Applied(applied) => self.applied(write, applied).await,
        }
    }

    async fn record(
        &mut self,
        write: &mut Write,
        record: &link::Record,
    ) -> Result<Result<(), Violation>, StoreError> {
        let (first, last) = (record.first, record.last);
        let stream = match StreamName::of(record.stream) {
            Ok(stream) => stream,
            Err(broken) => return Ok(Err(broken)),
        };
        let through = self.through(write, stream).await?;
        match sequence::place_record(through, first, last) {
            Err(broken) => return Ok(Err(broken.into())),
            Ok(Place::Counted) => {
                self.through.insert(stream, through);
                return Ok(Ok(()));
            }
            Ok(Place::Next(_)) => {}
        }
        if crc32c::crc32c(&record.payload) != record.crc32c {
            return Ok(Err(Violation::Checksum { first, last }));
        }
        match stream {
            StreamName::Events => payload::event(write, self.node, record, self.now).await?,
            StreamName::Summaries => {
                payload::window(write, self.node, self.key(stream), record, self.now).await?;
            }
        }
        self.through.insert(stream, last);
        Ok(Ok(()))
    }

    async fn gap(
        &mut self,
        write: &mut Write,
        gap: &link::Gap,
    ) -> Result<Result<(), Violation>, StoreError> {
        let stream = match StreamName::of(gap.stream) {
            Ok(stream) => stream,
            Err(broken) => return Ok(Err(broken)),
        };
        let through = self.through(write, stream).await?;
        match sequence::place_gap(through, gap.from, gap.to) {
            Err(broken) => return Ok(Err(broken.into())),
            Ok(Place::Counted) => {
                self.through.insert(stream, through);
            }
            Ok(Place::Next(from)) => {
                let range = (from, gap.to);
                write
                    .insert_gap(self.key(stream), range, gap.reason(), self.now)
                    .await?;
                payload::gap(write, self.node, stream, range, gap.reason(), self.now).await?;
                self.through.insert(stream, gap.to);
            }
        }
        Ok(Ok(()))
    }

    async fn applied(
        &mut self,
        write: &mut Write,
        applied: &link::Applied,
    ) -> Result<Result<(), Violation>, StoreError> {
        let generation = applied.generation;
        let works_on = match (generation, applied.digest.as_ref().map(Digest::try_from)) {
            (0, _) => None,
            (1..=sequence::NUMBER_MAX, Some(Ok(digest))) => {
                Some((Generation::new(generation), digest))
            }
            (_, Some(_) | None) => return Ok(Err(Violation::Applied { generation })),
        };
        let message = applied.encode_to_vec();
        write
            .set_applied(self.session.uid, works_on, &message)
            .await?;
        self.wakes = true;
        Ok(Ok(()))
    }
}

/// Names a stream of a node's outbox store.
pub(super) fn stream_key<'a>(
    uid: NodeUid,
    node: &'a KnownNode,
    lineage: Lineage,
    stream: StreamName,
) -> StreamKey<'a> {
    StreamKey {
        uid,
        tenant: &node.tenant,
        lineage,
        stream: stream.into(),
    }
}
