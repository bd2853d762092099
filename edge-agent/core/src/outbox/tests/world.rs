//! Whole lives of an agent, its disk, a link and a cloud, at random.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

/// The cloud's books: one watermark per stream, and what was counted under which number.
#[derive(Clone, Default)]
struct Cloud {
    through: BTreeMap<Stream, u64>,
    counted: Vec<(Stream, u64)>,
    lost: BTreeSet<(Stream, u64)>,
}

/// What survives a kill: rows, and block files with how many numbers each record covers.
#[derive(Clone, Default)]
struct Disk {
    heads: BTreeMap<Stream, Head>,
    tally: Tally,
    rows: BTreeMap<(Stream, u64), Entry>,
    blocks: BTreeMap<BlockId, StoredBlock>,
    files: BTreeMap<BlockId, Vec<(u64, u64)>>,
}

impl Disk {
    fn write(&mut self, ledger: &Ledger, changes: &[Change]) {
        for change in changes {
            match *change {
                Change::Put {
                    stream,
                    first,
                    entry,
                } => self.put(stream, first, entry),
                Change::Drop { stream, first } => drop(self.rows.remove(&(stream, first))),
                Change::Move {
                    stream,
                    from,
                    first,
                    entry,
                } => {
                    self.rows.remove(&(stream, from));
                    self.put(stream, first, entry);
                }
                Change::Head { stream, head } => drop(self.heads.insert(stream, head)),
                Change::Tally(tally) => self.tally = tally,
            }
        }
        for id in ledger.emptied(changes) {
            self.blocks.remove(&id);
            self.files.remove(&id);
        }
    }

    fn put(&mut self, stream: Stream, first: u64, entry: Entry) {
        match entry.content {
            Content::Record { .. } | Content::Gap(_) => {
                self.rows.insert((stream, first), entry);
            }
            Content::Block(block) => {
                let last = entry.last;
                let stored = StoredBlock {
                    stream,
                    first,
                    last,
                    block,
                };
                self.blocks.insert(block.id, stored);
            }
            Content::Piece { .. } => {}
        }
    }

    fn pieces(&self, id: BlockId, first: u64) -> Vec<Piece> {
        let mut next = first;
        let piece = |(index, &(span, payload_bytes)): (usize, &(u64, u64))| {
            let first = next;
            next += span;
            Piece {
                index: u32::try_from(index).unwrap(),
                first,
                last: next - 1,
                payload_bytes,
            }
        };
        self.files[&id].iter().enumerate().map(piece).collect()
    }

    fn load(&self, quota_bytes: u64) -> Ledger {
        let rows = self.rows.iter().map(|((s, f), e)| (*s, *f, *e)).collect();
        let blocks = self.blocks.values().copied().collect();
        let pieces = |stored: &StoredBlock| {
            Ok::<_, std::convert::Infallible>(self.pieces(stored.block.id, stored.first))
        };
        let Ok(stored) = place(&self.heads, rows, blocks, pieces);
        let (ledger, repairs) = Ledger::load(quota_bytes, self.tally, &self.heads, stored);
        assert_eq!(corrupt_numbers(&repairs), 0, "a restart loses nothing");
        ledger
    }
}

impl Cloud {
    /// `None`: a duplicate or a hole, which no real link may count.
    fn receive(&mut self, offer: &Offer) -> Option<u64> {
        let through = self.through.entry(offer.stream).or_insert(0);
        if offer.last <= *through {
            return Some(*through);
        }
        if offer.first != *through + 1 {
            return None;
        }
        *through = offer.last;
        for number in offer.first..=offer.last {
            match offer.content {
                Content::Record { .. } | Content::Piece { .. } => {
                    self.counted.push((offer.stream, number));
                }
                Content::Block(_) => panic!("a block is never offered whole"),
                Content::Gap(_) => {
                    self.lost.insert((offer.stream, number));
                }
            }
        }
        Some(*through)
    }
}

/// An agent, a cloud and the link between them.
struct World {
    quota_bytes: u64,
    agent: Ledger,
    disk: Disk,
    next_block: u64,
    cursor: Option<Cursor>,
    cloud: Cloud,
    backup: Cloud,
    up: VecDeque<Offer>,
    down: VecDeque<(Stream, u64)>,
    appended: BTreeSet<(Stream, u64)>,
}

#[derive(Clone, Debug)]
enum Act {
    Append(Stream, u64),
    FailedAppend(Stream),
    Seal(Stream),
    KilledSeal,
    BackUpCloud,
    RestoreCloud,
    Connect,
    Offer,
    Deliver,
    DeliverTwice,
    Acknowledged,
    Cut,
    RestartAgent,
}

impl World {
    fn new(quota_bytes: u64) -> Self {
        Self {
            quota_bytes,
            agent: Ledger::new(quota_bytes),
            disk: Disk::default(),
            next_block: 1,
            cursor: None,
            cloud: Cloud::default(),
            backup: Cloud::default(),
            up: VecDeque::new(),
            down: VecDeque::new(),
            appended: BTreeSet::new(),
        }
    }

    fn cut(&mut self) {
        self.cursor = None;
        self.up.clear();
        self.down.clear();
    }

    fn commit(&mut self, changes: &[Change]) {
        self.disk.write(&self.agent, changes);
        apply(&mut self.agent, changes);
    }

    /// The records of the entries from `first` to `last`: how many numbers each covers, and its size.
    fn records(&self, stream: Stream, first: u64, last: u64) -> Vec<(u64, u64)> {
        let entries = self.agent.entries_between(stream, first, last);
        entries
            .flat_map(|(first, entry)| match entry.content {
                Content::Record { payload_bytes } | Content::Piece { payload_bytes, .. } => {
                    vec![(entry.last - first + 1, payload_bytes)]
                }
                Content::Block(block) => self.disk.files[&block.id].clone(),
                Content::Gap(_) => panic!("a gap among records"),
            })
            .collect()
    }

    /// Writes a block file; nothing names it yet.
    fn write_block(&mut self, records: Vec<(u64, u64)>, resolution: Resolution) -> Block {
        let payload_bytes = records.iter().map(|(_, bytes)| bytes).sum();
        let block = Block {
            id: BlockId(self.next_block),
            records: u32::try_from(records.len()).unwrap(),
            payload_bytes,
            disk_bytes: payload_bytes + 50,
            resolution,
        };
        self.next_block += 1;
        self.disk.files.insert(block.id, records);
        block
    }

    fn replace(&mut self, stream: Stream, first: u64, last: u64, block: Block) {
        let content = Content::Block(block);
        let entry = Entry { last, content };
        let changes = self
            .agent
            .replace(stream, first, last, &[Part { first, entry }]);
        self.commit(&changes);
    }

    /// The unsent records of `stream` that follow each other in rows of their own.
    fn unsealed(&self, stream: Stream) -> Option<(u64, u64)> {
        let from = self.agent.head(stream).offered_up_to + 1;
        let is_record = |e: &Entry| matches!(e.content, Content::Record { .. });
        let mut run = self
            .agent
            .entries_between(stream, from, u64::MAX)
            .skip_while(|(_, entry)| !is_record(entry))
            .take_while(|(_, entry)| is_record(entry));
        let (first, entry) = run.next()?;
        Some((
            first,
            run.last().map_or(entry.last, |(_, entry)| entry.last),
        ))
    }

    fn seal(&mut self, stream: Stream) {
        if let Some((first, last)) = self.unsealed(stream) {
            let records = self.records(stream, first, last);
            let block = self.write_block(records, Resolution::Recorded);
            self.replace(stream, first, last, block);
        }
    }

    fn make_room(&mut self, incoming_bytes: u64) {
        while let Some(relief) = self.agent.relief(incoming_bytes) {
            match relief {
                Relief::GiveUp(changes) => self.commit(&changes),
                Relief::Merge(Merge { first, last, to }) => {
                    let records = self.records(Stream::Summaries, first, last);
                    let merged = records.chunks(3).map(|group| {
                        let span = group.iter().map(|(span, _)| span).sum();
                        (span, group.iter().map(|(_, bytes)| *bytes).max().unwrap())
                    });
                    let block = self.write_block(merged.collect(), to);
                    self.replace(Stream::Summaries, first, last, block);
                }
            }
        }
    }

    fn deliver(&mut self, offer: &Offer) {
        match self.cloud.receive(offer) {
            Some(through) => self.down.push_back((offer.stream, through)),
            None => panic!("hole or straddle: {offer:?} at {:?}", self.cloud.through),
        }
    }

    fn offer(&mut self) {
        if let Some(cursor) = self.cursor.clone() {
            while let Some((stream, first)) = self.agent.to_open(&cursor) {
                let (_, entry) = self
                    .agent
                    .entries_between(stream, first, first)
                    .next()
                    .unwrap();
                let id = entry.content.block().unwrap().id;
                let changes = self.agent.open(stream, first, &self.disk.pieces(id, first));
                self.commit(&changes);
            }
            let (offers, changes, after) = self.agent.offer(&cursor, ROOM);
            self.commit(&changes);
            self.cursor = Some(after);
            self.up.extend(offers);
        }
    }

    fn restart(&mut self) {
        // Files that no row names are what a kill left behind.
        let named: BTreeSet<_> = self.disk.blocks.keys().copied().collect();
        self.disk.files.retain(|id, _| named.contains(id));
        let loaded = self.disk.load(self.quota_bytes);
        for stream in Stream::ALL {
            assert_eq!(loaded.head(stream), self.agent.head(stream));
        }
        assert_eq!(loaded.tally(), self.agent.tally());
        assert_eq!(loaded.backlog(), self.agent.backlog());
        self.agent = loaded;
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Append(stream, payload_bytes) => {
                self.make_room(payload_bytes + ENTRY_OVERHEAD_BYTES);
                let appended = self.agent.append(&[(*stream, *payload_bytes)]);
                self.commit(&appended.changes);
                self.appended.insert((*stream, appended.sequences[0]));
            }
            // The disk refused: the decision is forgotten.
            Act::FailedAppend(stream) => drop(self.agent.append(&[(*stream, PAYLOAD)])),
            Act::Seal(stream) => self.seal(*stream),
            Act::KilledSeal => {
                if let Some((first, last)) = self.unsealed(Stream::Summaries) {
                    let records = self.records(Stream::Summaries, first, last);
                    self.write_block(records, Resolution::Recorded);
                }
                self.act(&Act::RestartAgent);
            }
            Act::BackUpCloud => self.backup = self.cloud.clone(),
            Act::RestoreCloud => {
                self.cut();
                self.cloud = self.backup.clone();
            }
            Act::Connect => {
                self.cut();
                for stream in Stream::ALL {
                    let through = self.cloud.through.get(&stream).copied().unwrap_or(0);
                    let changes = self.agent.welcome(stream, through);
                    self.commit(&changes);
                }
                self.cursor = Some(self.agent.cursor());
            }
            Act::Offer => self.offer(),
            Act::Deliver => {
                if let Some(offer) = self.up.pop_front() {
                    self.deliver(&offer);
                }
            }
            Act::DeliverTwice => {
                if let Some(offer) = self.up.pop_front() {
                    self.deliver(&offer);
                    self.deliver(&offer);
                }
            }
            Act::Acknowledged => {
                if let Some((stream, through)) = self.down.pop_front() {
                    let changes = self.agent.acknowledge(stream, through).unwrap();
                    self.commit(&changes);
                }
            }
            Act::Cut => self.cut(),
            Act::RestartAgent => {
                self.cut();
                self.restart();
            }
        }
        assert_whole(&self.agent);
        let named: BTreeSet<_> = self.disk.blocks.keys().collect();
        let kept: BTreeSet<_> = self.agent.blocks.keys().collect();
        assert_eq!(
            named, kept,
            "a block has a row as long as an entry needs it"
        );
    }

    fn settle(&mut self) {
        self.act(&Act::Connect);
        while self.agent.backlog() != Backlog::default() {
            self.act(&Act::Offer);
            while !self.up.is_empty() {
                self.act(&Act::Deliver);
            }
            while !self.down.is_empty() {
                self.act(&Act::Acknowledged);
            }
        }
    }
}

/// The invariant of the module: no hole and no overlap up to `next`.
fn assert_whole(ledger: &Ledger) {
    for stream in Stream::ALL {
        let mut expected = ledger.oldest(stream);
        for (first, entry) in ledger.entries(stream) {
            assert_eq!(first, expected);
            let offered = first <= ledger.head(stream).offered_up_to;
            assert!(!offered || !matches!(entry.content, Content::Block(_)));
            expected = entry.last + 1;
        }
        assert_eq!(expected, ledger.head(stream).next);
    }
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let stream = prop_oneof![Just(Stream::Events), Just(Stream::Summaries)];
    let act = prop_oneof![
        6 => (stream.clone(), 1_u64..400).prop_map(|(s, bytes)| Act::Append(s, bytes)),
        1 => stream.clone().prop_map(Act::FailedAppend),
        2 => stream.prop_map(Act::Seal),
        1 => Just(Act::KilledSeal),
        2 => Just(Act::Connect),
        4 => Just(Act::Offer),
        6 => Just(Act::Deliver),
        2 => Just(Act::DeliverTwice),
        5 => Just(Act::Acknowledged),
        1 => Just(Act::Cut),
        1 => Just(Act::RestartAgent),
    ];
    prop::collection::vec(act, 1..300)
}

/// With a cloud that is restored from its backup now and then.
fn acts_with_restores() -> impl Strategy<Value = Vec<Act>> {
    let restore = prop_oneof![Just(Act::BackUpCloud), Just(Act::RestoreCloud)];
    (
        acts(),
        prop::collection::vec((restore, any::<prop::sample::Index>()), 0..6),
    )
        .prop_map(|(mut acts, restores)| {
            for (restore, at) in restores {
                let at = at.index(acts.len());
                acts.insert(at, restore);
            }
            acts
        })
}

proptest! {
    #[test]
    fn each_record_is_counted_exactly_once(acts in acts()) {
        let mut world = World::new(QUOTA_WIDE);
        acts.iter().for_each(|act| world.act(act));
        world.settle();
        let counted: BTreeSet<_> = world.cloud.counted.iter().copied().collect();
        prop_assert_eq!(counted.len(), world.cloud.counted.len());
        prop_assert_eq!(counted, world.appended);
    }

    #[test]
    fn under_a_small_quota_each_record_is_counted_once_or_declared_lost(acts in acts()) {
        let mut world = World::new(2_000);
        acts.iter().for_each(|act| world.act(act));
        world.settle();
        let counted: BTreeSet<_> = world.cloud.counted.iter().copied().collect();
        prop_assert_eq!(counted.len(), world.cloud.counted.len());
        prop_assert!(counted.is_disjoint(&world.cloud.lost));
        let told: BTreeSet<_> = counted.union(&world.cloud.lost).copied().collect();
        prop_assert_eq!(told, world.appended);
    }

    #[test]
    fn a_restored_cloud_counts_each_record_once_or_is_told_of_its_loss(
        acts in acts_with_restores(), quota_bytes in prop_oneof![Just(2_000_u64), Just(QUOTA_WIDE)],
    ) {
        let mut world = World::new(quota_bytes);
        acts.iter().for_each(|act| world.act(act));
        world.settle();
        let counted: BTreeSet<_> = world.cloud.counted.iter().copied().collect();
        prop_assert_eq!(counted.len(), world.cloud.counted.len());
        prop_assert!(counted.is_disjoint(&world.cloud.lost));
        let told: BTreeSet<_> = counted.union(&world.cloud.lost).copied().collect();
        prop_assert_eq!(told, world.appended);
    }
}
