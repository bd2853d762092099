use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

const QUOTA_WIDE: u64 = 1024 * 1024;
const PAYLOAD: u64 = 100;
const ROOM: Room = Room {
    records: 4,
    bytes: 10_000,
};

fn apply(ledger: &mut Ledger, changes: &[Change]) {
    for change in changes {
        ledger.apply(change);
    }
}

fn filled(quota_bytes: u64, summaries: usize) -> Ledger {
    let mut ledger = Ledger::new(quota_bytes);
    for _ in 0..summaries {
        let appended = ledger.append(&[(Stream::Summaries, PAYLOAD)]);
        apply(&mut ledger, &appended.changes);
    }
    ledger
}

fn shape(ledger: &Ledger, stream: Stream) -> Vec<(u64, u64, Option<GapReason>)> {
    let line = |(first, entry): (u64, &Entry)| match entry.content {
        Content::Record { .. } => (first, entry.last, None),
        Content::Gap(reason) => (first, entry.last, Some(reason)),
    };
    ledger.entries(stream).map(line).collect()
}

#[test]
fn a_full_outbox_evicts_its_oldest_unsent_summaries_as_one_gap() {
    let room_for_four = 4 * (PAYLOAD + ENTRY_OVERHEAD_BYTES) + ENTRY_OVERHEAD_BYTES;
    let ledger = filled(room_for_four, 7);
    assert!(ledger.used_bytes() <= room_for_four);
    assert_eq!(
        shape(&ledger, Stream::Summaries),
        [
            (1, 3, Some(GapReason::Evicted)),
            (4, 4, None),
            (5, 5, None),
            (6, 6, None),
            (7, 7, None)
        ]
    );
}

#[test]
fn sent_records_are_evicted_last_and_declared_as_of_unknown_fate() {
    let room_for_four = 4 * (PAYLOAD + ENTRY_OVERHEAD_BYTES);
    let mut ledger = filled(room_for_four, 4);
    let two = Room { records: 2, ..ROOM };
    let (offers, changes, _) = ledger.offer(&ledger.cursor(), two);
    assert_eq!(offers.len(), 2);
    apply(&mut ledger, &changes);
    let appended = ledger.append(&[(Stream::Events, PAYLOAD); 4]);
    apply(&mut ledger, &appended.changes);
    let summaries = shape(&ledger, Stream::Summaries);
    assert_eq!(
        summaries,
        [
            (1, 2, Some(GapReason::FateUnknown)),
            (3, 4, Some(GapReason::Evicted))
        ]
    );
}

#[test]
fn the_acknowledged_tail_is_bounded_and_offered_again_to_a_restored_cloud() {
    let mut ledger = filled(QUOTA_WIDE, ACKNOWLEDGED_TAIL + 10);
    let all = Room {
        records: 1_000,
        bytes: QUOTA_WIDE,
    };
    let (_, changes, _) = ledger.offer(&ledger.cursor(), all);
    apply(&mut ledger, &changes);
    let through = ledger.head(Stream::Summaries).next - 1;
    let changes = ledger.acknowledge(Stream::Summaries, through).unwrap();
    apply(&mut ledger, &changes);
    assert_eq!(shape(&ledger, Stream::Summaries).len(), ACKNOWLEDGED_TAIL);
    assert_eq!(ledger.backlog(), Backlog::default());
    let changes = ledger.welcome(Stream::Summaries, 2);
    apply(&mut ledger, &changes);
    let (offers, ..) = ledger.offer(&ledger.cursor(), ROOM);
    let sent: Vec<_> = offers
        .iter()
        .map(|o| (o.first, o.last, o.content))
        .collect();
    let record = Content::Record {
        payload_bytes: PAYLOAD,
    };
    assert_eq!(
        sent,
        [
            (3, 10, Content::Gap(GapReason::Evicted)),
            (11, 11, record),
            (12, 12, record),
            (13, 13, record)
        ]
    );
}

#[test]
fn a_store_that_went_back_in_time_gives_fresh_numbers_to_what_was_never_sent() {
    let mut ledger = filled(QUOTA_WIDE, 3);
    let changes = ledger.welcome(Stream::Summaries, 9);
    apply(&mut ledger, &changes);
    assert_eq!(
        shape(&ledger, Stream::Summaries),
        [(10, 10, None), (11, 11, None), (12, 12, None)]
    );
    assert_eq!(ledger.head(Stream::Summaries).next, 13);
}

#[test]
fn acknowledging_what_was_never_offered_is_refused() {
    let ledger = filled(QUOTA_WIDE, 3);
    assert_eq!(
        ledger.acknowledge(Stream::Summaries, 1),
        Err(SettleError::NeverOffered {
            stream: Stream::Summaries,
            through: 1,
            offered_up_to: 0
        })
    );
}

#[test]
fn a_store_that_lost_its_heads_believes_the_cloud_and_sends_nothing_twice() {
    let ledger = filled(QUOTA_WIDE, 5);
    let stored: Vec<_> = ledger
        .entries(Stream::Summaries)
        .map(|(first, entry)| (Stream::Summaries, first, *entry))
        .collect();
    let marked = BTreeMap::from([(Stream::Summaries, Head::lost(6))]);
    for heads in [BTreeMap::new(), marked] {
        let (mut loaded, _) = Ledger::load(QUOTA_WIDE, &heads, stored.clone());
        let welcome = loaded.welcome(Stream::Summaries, 3);
        apply(&mut loaded, &welcome);
        let (offers, _, _) = loaded.offer(&loaded.cursor(), ROOM);
        let sent: Vec<_> = offers
            .iter()
            .map(|offer| (offer.first, offer.last))
            .collect();
        assert_eq!(sent, [(4, 4), (5, 5)]);
    }
}

#[test]
fn what_the_store_lost_becomes_a_declared_gap_on_load() {
    let record = |first| {
        let entry = Entry {
            last: first,
            content: Content::Record {
                payload_bytes: PAYLOAD,
            },
        };
        (Stream::Summaries, first, entry)
    };
    let head = Head {
        acknowledged: 1,
        offered_up_to: 3,
        next: 9,
    };
    let heads = BTreeMap::from([(Stream::Summaries, head)]);
    let (ledger, _) = Ledger::load(QUOTA_WIDE, &heads, [record(4), record(6)]);
    assert_eq!(
        shape(&ledger, Stream::Summaries),
        [
            (2, 3, Some(GapReason::Corrupt)),
            (4, 4, None),
            (5, 5, Some(GapReason::Corrupt)),
            (6, 6, None),
            (7, 8, Some(GapReason::Corrupt))
        ]
    );
}

/// The cloud's books: one watermark per stream, and what was counted under which number.
#[derive(Clone, Default)]
struct Cloud {
    through: BTreeMap<Stream, u64>,
    counted: Vec<(Stream, u64)>,
    lost: BTreeSet<(Stream, u64)>,
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
                Content::Record { .. } => self.counted.push((offer.stream, number)),
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
    cursor: Option<Cursor>,
    cloud: Cloud,
    up: VecDeque<Offer>,
    down: VecDeque<(Stream, u64)>,
    appended: BTreeSet<(Stream, u64)>,
}

#[derive(Clone, Debug)]
enum Act {
    Append(Stream, u64),
    FailedAppend(Stream),
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
            cursor: None,
            cloud: Cloud::default(),
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

    fn deliver(&mut self, offer: &Offer) {
        match self.cloud.receive(offer) {
            Some(through) => self.down.push_back((offer.stream, through)),
            None => panic!("hole or straddle: {offer:?} at {:?}", self.cloud.through),
        }
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Append(stream, payload_bytes) => {
                let appended = self.agent.append(&[(*stream, *payload_bytes)]);
                apply(&mut self.agent, &appended.changes);
                self.appended.insert((*stream, appended.sequences[0]));
            }
            // The disk refused: the decision is forgotten.
            Act::FailedAppend(stream) => drop(self.agent.append(&[(*stream, PAYLOAD)])),
            Act::Connect => {
                self.cut();
                for stream in Stream::ALL {
                    let through = self.cloud.through.get(&stream).copied().unwrap_or(0);
                    let changes = self.agent.welcome(stream, through);
                    apply(&mut self.agent, &changes);
                }
                self.cursor = Some(self.agent.cursor());
            }
            Act::Offer => {
                if let Some(cursor) = &self.cursor {
                    let (offers, changes, after) = self.agent.offer(cursor, ROOM);
                    apply(&mut self.agent, &changes);
                    self.cursor = Some(after);
                    self.up.extend(offers);
                }
            }
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
                    apply(&mut self.agent, &changes);
                }
            }
            Act::Cut => self.cut(),
            Act::RestartAgent => {
                self.cut();
                let stored = Stream::ALL.into_iter().flat_map(|stream| {
                    let entries: Vec<_> = self.agent.entries(stream).collect();
                    entries
                        .into_iter()
                        .map(move |(first, e)| (stream, first, *e))
                });
                let heads = Stream::ALL.map(|stream| (stream, self.agent.head(stream)));
                let (loaded, _) = Ledger::load(self.quota_bytes, &heads.into(), stored);
                assert_eq!(loaded, self.agent, "a restart changes nothing");
                self.agent = loaded;
            }
        }
        assert_whole(&self.agent);
    }

    fn settle(&mut self) {
        self.act(&Act::Connect);
        while self.agent.backlog().bytes > 0 {
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
            expected = entry.last + 1;
        }
        assert_eq!(expected, ledger.head(stream).next);
    }
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let stream = prop_oneof![Just(Stream::Events), Just(Stream::Summaries)];
    let act = prop_oneof![
        6 => (stream.clone(), 1_u64..400).prop_map(|(s, bytes)| Act::Append(s, bytes)),
        1 => stream.prop_map(Act::FailedAppend),
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
}
