//! The ledger in single cases; [`world`] plays whole lives of agent and cloud.

mod world;

use std::collections::BTreeMap;

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

/// Appends one record as the store does: room first. Merging is left out, so nothing may be mergeable.
fn append(ledger: &mut Ledger, stream: Stream) {
    while let Some(relief) = ledger.relief(PAYLOAD + ENTRY_OVERHEAD_BYTES) {
        match relief {
            Relief::GiveUp(changes) => apply(ledger, &changes),
            Relief::Merge(merge) => panic!("{merge:?}"),
        }
    }
    let appended = ledger.append(&[(stream, PAYLOAD)]);
    apply(ledger, &appended.changes);
}

fn filled(quota_bytes: u64, summaries: usize) -> Ledger {
    let mut ledger = Ledger::new(quota_bytes);
    (0..summaries).for_each(|_| append(&mut ledger, Stream::Summaries));
    ledger
}

/// Puts `first` to `last` into one block of records of `span` numbers each.
fn seal(
    ledger: &mut Ledger,
    (first, last): (u64, u64),
    id: u64,
    span: u64,
    resolution: Resolution,
) -> Block {
    let records = (last - first + 1) / span;
    let block = Block {
        id: BlockId(id),
        records: u32::try_from(records).unwrap(),
        payload_bytes: records * PAYLOAD,
        disk_bytes: records * PAYLOAD + 50,
        resolution,
    };
    let content = Content::Block(block);
    let entry = Entry { last, content };
    let changes = ledger.replace(Stream::Summaries, first, last, &[Part { first, entry }]);
    apply(ledger, &changes);
    block
}

/// Opens the block that must be opened next.
fn open_next(ledger: &mut Ledger, span: u64) {
    let (stream, first) = ledger.to_open(&ledger.cursor()).unwrap();
    let last = ledger
        .entries_between(stream, first, first)
        .next()
        .unwrap()
        .1
        .last;
    let pieces: Vec<_> = (first..=last)
        .step_by(usize::try_from(span).unwrap())
        .enumerate()
        .map(|(index, first)| Piece {
            index: u32::try_from(index).unwrap(),
            first,
            last: first + span - 1,
            payload_bytes: PAYLOAD,
        })
        .collect();
    let changes = ledger.open(stream, first, &pieces);
    apply(ledger, &changes);
}

fn shape(ledger: &Ledger, stream: Stream) -> Vec<(u64, u64, Option<GapReason>)> {
    let line = |(first, entry): (u64, &Entry)| match entry.content {
        Content::Record { .. } | Content::Block(_) | Content::Piece { .. } => {
            (first, entry.last, None)
        }
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
    let room_for_four = 4 * (PAYLOAD + ENTRY_OVERHEAD_BYTES) + ENTRY_OVERHEAD_BYTES;
    let mut ledger = filled(room_for_four, 4);
    let two = Room { records: 2, ..ROOM };
    let (offers, changes, _) = ledger.offer(&ledger.cursor(), two);
    assert_eq!(offers.len(), 2);
    apply(&mut ledger, &changes);
    let events = [(Stream::Events, PAYLOAD); 4];
    while let Some(Relief::GiveUp(changes)) = ledger.relief(4 * (PAYLOAD + ENTRY_OVERHEAD_BYTES)) {
        apply(&mut ledger, &changes);
    }
    let appended = ledger.append(&events);
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
fn a_loss_that_joined_one_the_cloud_has_counted_over_is_still_declared() {
    // Number 1 was sent; the disk lost 2 and later, 2 and 3 were given again, and damage took 1 to 3.
    let head = Head {
        acknowledged: 1,
        offered_up_to: 1,
        next: 5,
    };
    let record = Entry {
        last: 4,
        content: Content::Record { payload_bytes: 100 },
    };
    let lost = Entry {
        last: 3,
        content: Content::Gap(GapReason::Corrupt),
    };
    let heads = BTreeMap::from([(Stream::Events, head)]);
    let stored = [(Stream::Events, 1, lost), (Stream::Events, 4, record)];
    let (mut ledger, _) = Ledger::load(QUOTA_WIDE, Tally::default(), &heads, stored);
    let changes = ledger.welcome(Stream::Events, 3);
    apply(&mut ledger, &changes);
    assert_eq!(
        shape(&ledger, Stream::Events),
        [(4, 4, None), (5, 6, Some(GapReason::Corrupt))]
    );
    assert_eq!(ledger.head(Stream::Events).next, 7);
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
        let (mut loaded, _) = Ledger::load(QUOTA_WIDE, Tally::default(), &heads, stored.clone());
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
    let (ledger, _) = Ledger::load(QUOTA_WIDE, Tally::default(), &heads, [record(4), record(6)]);
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
    assert_eq!(ledger.tally().lost_for(GapReason::Corrupt), 5);
}

#[test]
fn room_is_made_by_merging_the_finest_first_and_only_then_by_dropping() {
    let mut ledger = filled(QUOTA_WIDE, 40);
    seal(&mut ledger, (1, 20), 1, 10, Resolution::TenMinutes);
    seal(&mut ledger, (21, 30), 2, 1, Resolution::Recorded);
    ledger.set_quota_bytes(0);
    let merge = |first, last, to| Some(Relief::Merge(Merge { first, last, to }));
    assert_eq!(ledger.relief(0), merge(21, 30, Resolution::TenMinutes));
    seal(&mut ledger, (21, 30), 3, 10, Resolution::TenMinutes);
    // Neighbours of one resolution go together.
    assert_eq!(ledger.relief(0), merge(1, 30, Resolution::Hour));
    seal(&mut ledger, (1, 30), 4, 30, Resolution::Day);
    let Some(Relief::GiveUp(changes)) = ledger.relief(0) else {
        panic!("a day is as coarse as it gets");
    };
    apply(&mut ledger, &changes);
    let gap = (1, 30, Some(GapReason::Evicted));
    assert_eq!(shape(&ledger, Stream::Summaries)[0], gap);
    assert_eq!(ledger.tally().lost_for(GapReason::Evicted), 30);
    // 20 became 2 and 10 became 1, then 3 became 1.
    assert_eq!(ledger.tally().merged, 18 + 9 + 2);
}

#[test]
fn what_was_offered_is_not_merged_and_the_rest_of_its_block_is() {
    let mut ledger = filled(QUOTA_WIDE, 30);
    let block = seal(&mut ledger, (1, 30), 1, 1, Resolution::Recorded);
    assert_eq!(ledger.offer(&ledger.cursor(), ROOM).0, []);
    open_next(&mut ledger, 1);
    let (offers, changes, _) = ledger.offer(&ledger.cursor(), ROOM);
    apply(&mut ledger, &changes);
    assert_eq!(offers.len(), ROOM.records);
    let merge = ledger.mergeable().unwrap();
    assert_eq!((merge.first, merge.last), (5, 30));
    let rest = [Part {
        first: 5,
        entry: Entry {
            last: 30,
            content: Content::Block(Block {
                id: BlockId(2),
                ..block
            }),
        },
    }];
    let changes = ledger.replace(Stream::Summaries, 5, 30, &rest);
    assert_eq!(ledger.emptied(&changes), [], "the offered pieces need it");
    apply(&mut ledger, &changes);
    assert!(ledger.used_bytes() > 2 * block.disk_bytes);
    let changes = ledger.welcome(Stream::Summaries, 4);
    apply(&mut ledger, &changes);
    let tail = ledger.drop_acknowledged();
    assert_eq!(ledger.emptied(&tail), [BlockId(1)]);
}

#[test]
fn a_long_backlog_is_sealed_in_blocks_and_a_short_one_is_not() {
    let mut ledger = filled(QUOTA_WIDE, usize::try_from(SEAL_RECORDS).unwrap() - 1);
    assert_eq!(ledger.sealable(Stream::Summaries), None);
    append(&mut ledger, Stream::Summaries);
    assert_eq!(ledger.sealable(Stream::Summaries), Some((1, SEAL_RECORDS)));
    assert_eq!(ledger.sealable(Stream::Events), None);
}

#[test]
fn pieces_of_a_store_that_went_back_in_time_become_records_and_hide_their_block() {
    let mut ledger = filled(QUOTA_WIDE, 3);
    seal(&mut ledger, (1, 3), 1, 1, Resolution::Recorded);
    open_next(&mut ledger, 1);
    let changes = ledger.welcome(Stream::Summaries, 9);
    apply(&mut ledger, &changes);
    assert_eq!(
        shape(&ledger, Stream::Summaries),
        [
            (1, 9, Some(GapReason::FateUnknown)),
            (10, 10, None),
            (11, 11, None),
            (12, 12, None)
        ]
    );
    assert_eq!(ledger.backlog().records, 3);
}
