mod blocks;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::*;

const ROOM: Room = Room {
    records: 1_000,
    bytes: 10_000_000,
};

fn limits() -> OutboxLimits {
    OutboxLimits {
        free_bytes_min: 0,
        ..OutboxLimits::default()
    }
}

async fn open(directory: &Path) -> (Outbox, Vec<RecoveryNote>) {
    Outbox::open(directory.to_owned(), limits()).await.unwrap()
}

fn payload(number: usize) -> Bytes {
    Bytes::from(format!("window {number} ").repeat(40))
}

async fn fill(outbox: &Outbox, count: usize) {
    for number in 1..=count {
        let sequence = outbox.append(Stream::Summaries, payload(number)).await;
        assert_eq!(sequence.unwrap().sequence, number as u64);
    }
}

/// Begins a session at `through` and takes everything there is to send.
async fn drain(outbox: &Outbox, through: u64) -> Vec<Outgoing> {
    outbox.greet().await.unwrap();
    outbox
        .welcomed(
            Transport::Quic,
            b"secret".to_vec(),
            vec![(Stream::Summaries, through)],
        )
        .await
        .unwrap();
    outbox.offer(ROOM).await.unwrap()
}

fn record(number: usize) -> Outgoing {
    Outgoing {
        stream: Stream::Summaries,
        first: number as u64,
        last: number as u64,
        body: OutgoingBody::Record(payload(number)),
    }
}

#[tokio::test]
async fn what_was_appended_is_offered_after_reopening_and_trimmed_when_acknowledged() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("outbox");
    let (outbox, notes) = open(&directory).await;
    assert_eq!(notes, []);
    let lineage = outbox.greet().await.unwrap().lineage;
    fill(&outbox, 5).await;
    assert_eq!(outbox.backlog().borrow().records, 5);
    outbox.close().await;

    let (outbox, notes) = open(&directory).await;
    assert_eq!(notes, []);
    let offered = drain(&outbox, 0).await;
    assert_eq!(offered, (1..=5).map(record).collect::<Vec<_>>());
    assert_eq!(outbox.offer(ROOM).await.unwrap(), []);
    outbox.acknowledge(Stream::Summaries, 3).await.unwrap();
    assert_eq!(outbox.backlog().borrow().records, 2);
    outbox.close().await;

    let (outbox, _) = open(&directory).await;
    let greeting = outbox.greet().await.unwrap();
    assert_eq!(greeting.lineage, lineage);
    assert_eq!(greeting.secret, b"secret");
    assert_eq!(greeting.worked, Some(Transport::Quic));
    let expected = Head {
        acknowledged: 3,
        offered_up_to: 5,
        next: 6,
    };
    assert_eq!(greeting.streams[1], (Stream::Summaries, 1, expected));
    assert_eq!(drain(&outbox, 4).await, [record(5)]);
}

#[tokio::test]
async fn many_appends_at_once_get_distinct_numbers() {
    let parent = tempfile::tempdir().unwrap();
    let (outbox, _) = open(&parent.path().join("outbox")).await;
    let appends = (0..200).map(|n| outbox.append(Stream::Events, payload(n)));
    let sequences: BTreeSet<u64> = futures_util::future::try_join_all(appends)
        .await
        .unwrap()
        .into_iter()
        .map(|place| place.sequence)
        .collect();
    assert_eq!(sequences, (1..=200).collect());
}

#[tokio::test]
async fn a_full_disk_is_a_named_error_and_wastes_no_number() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("outbox");
    let (outbox, _) = open(&directory).await;
    fill(&outbox, 1).await;
    outbox.close().await;
    let full = OutboxLimits {
        free_bytes_min: u64::MAX,
        ..limits()
    };
    let (outbox, _) = Outbox::open(directory.clone(), full).await.unwrap();
    let refused = outbox.append(Stream::Summaries, payload(2)).await;
    assert!(matches!(refused, Err(StoreError::DiskFull { .. })));
    outbox.close().await;
    let (outbox, _) = open(&directory).await;
    assert_eq!(
        outbox
            .append(Stream::Summaries, payload(2))
            .await
            .unwrap()
            .sequence,
        2
    );
}

#[tokio::test]
async fn a_second_agent_on_the_same_directory_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("outbox");
    let (_outbox, _) = open(&directory).await;
    let second = Outbox::open(directory, limits()).await;
    assert!(matches!(second, Err(StoreError::InUse { .. })));
}

#[tokio::test]
async fn a_half_written_snapshot_is_dropped_without_loss() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("outbox");
    let (outbox, _) = open(&directory).await;
    fill(&outbox, 3).await;
    outbox.close().await;
    std::fs::write(
        directory.join("rows-1").join("snap.00000000000FFFFF"),
        b"torn",
    )
    .unwrap();
    let (outbox, notes) = open(&directory).await;
    assert!(
        notes
            .iter()
            .all(|note| matches!(note, RecoveryNote::Repaired { .. })),
        "{notes:?}"
    );
    assert_eq!(drain(&outbox, 0).await.len(), 3);
}

#[tokio::test]
async fn a_hopeless_store_is_set_aside_and_the_loss_is_declared() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("outbox");
    let (outbox, _) = open(&directory).await;
    fill(&outbox, 3).await;
    let old = outbox.greet().await.unwrap().lineage;
    outbox.close().await;
    let size = std::fs::metadata(directory.join("rows-1").join("db"))
        .unwrap()
        .len();
    let garbage: Vec<u8> = (0..size)
        .map(|at| u8::try_from(at % 251).unwrap())
        .collect();
    std::fs::write(directory.join("rows-1").join("db"), garbage).unwrap();
    let (outbox, notes) = open(&directory).await;
    let [RecoveryNote::Quarantined { moved_to, .. }] = &notes[..] else {
        panic!("{notes:?}");
    };
    assert!(moved_to.join("db").exists());
    assert_ne!(outbox.greet().await.unwrap().lineage, old);
    let sent = drain(&outbox, 0).await;
    assert_eq!(sent[0].body, OutgoingBody::Gap(GapReason::Quarantined));
    assert_eq!(
        outbox
            .append(Stream::Summaries, payload(9))
            .await
            .unwrap()
            .sequence,
        2
    );
}

#[tokio::test]
async fn a_quarantine_that_ended_before_it_was_declared_is_declared_at_the_next_start_and_once() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("outbox");
    let aside = parent.path().join("outbox.damaged-1");
    std::fs::create_dir(aside.with_extension("damaged-1.undeclared")).unwrap();
    let (outbox, notes) = open(&directory).await;
    assert!(
        matches!(&notes[..], [RecoveryNote::Quarantined { moved_to, .. }] if *moved_to == aside),
        "{notes:?}"
    );
    let sent = drain(&outbox, 0).await;
    assert_eq!(sent[0].body, OutgoingBody::Gap(GapReason::Quarantined));
    assert!(aside.exists());
    outbox.close().await;
    let (outbox, notes) = open(&directory).await;
    assert_eq!(notes, []);
    assert_eq!(drain(&outbox, 0).await.len(), 2, "a gap of each stream");
}

/// A copy of the files of an open store is what a killed process leaves behind.
#[tokio::test]
async fn what_was_confirmed_survives_a_kill_at_any_moment() {
    const KILLS: usize = 30;
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("live").join("outbox");
    std::fs::create_dir_all(directory.parent().unwrap()).unwrap();
    let (outbox, _) = open(&directory).await;
    for kill in 1..=KILLS {
        let place = outbox.append(Stream::Summaries, payload(kill)).await;
        assert_eq!(place.unwrap().sequence, kill as u64);
        let left = parent.path().join(format!("killed-{kill}")).join("outbox");
        copy(&directory, &left);
        let (reopened, notes) = open(&left).await;
        let lost = notes
            .iter()
            .any(|note| !matches!(note, RecoveryNote::Repaired { .. }));
        assert!(!lost, "{notes:?}");
        let expected: Vec<_> = (1..=kill).map(record).collect();
        assert_eq!(drain(&reopened, 0).await, expected);
        reopened.close().await;
    }
}

/// Damages a cleanly closed store in many places: whatever comes back is either as it was or declared.
#[tokio::test]
async fn damage_is_declared_and_never_silent() {
    const RECORDS: usize = 40;
    let parent = tempfile::tempdir().unwrap();
    let pristine = parent.path().join("pristine").join("outbox");
    std::fs::create_dir_all(pristine.parent().unwrap()).unwrap();
    let (outbox, _) = open(&pristine).await;
    fill(&outbox, RECORDS).await;
    outbox.close().await;
    let db = std::fs::read(pristine.join("rows-1").join("db")).unwrap();
    let used = db.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let mut declared = 0;
    for round in 0..48 {
        let directory = parent.path().join(format!("{round}")).join("outbox");
        copy(&pristine, &directory);
        let mut damaged = db.clone();
        let position = used * round / 48 + round;
        damaged[position % used] ^= 1 << (round % 8);
        std::fs::write(directory.join("rows-1").join("db"), damaged).unwrap();
        let (outbox, notes) = open(&directory).await;
        let quarantined = notes
            .iter()
            .any(|n| matches!(n, RecoveryNote::Quarantined { .. }));
        let sent = drain(&outbox, 0).await;
        declared += usize::from(!notes.is_empty());
        if quarantined {
            assert_eq!(sent[0].body, OutgoingBody::Gap(GapReason::Quarantined));
        } else {
            assert_told(&sent, RECORDS, round);
        }
        outbox.close().await;
    }
    assert!(
        declared > 0,
        "no round hit anything, so the test proves nothing"
    );
}

/// Every number is there once, as it was appended or as a gap.
fn assert_told(sent: &[Outgoing], records: usize, round: usize) {
    let mut told = BTreeMap::new();
    for outgoing in sent {
        for number in outgoing.first..=outgoing.last {
            assert!(
                told.insert(number, &outgoing.body).is_none(),
                "round {round}"
            );
        }
    }
    for number in 1..=records {
        match told.get(&(number as u64)) {
            Some(OutgoingBody::Record(found)) => assert_eq!(*found, payload(number)),
            Some(OutgoingBody::Gap(reason)) => assert_eq!(*reason, GapReason::Corrupt),
            None => panic!("round {round}: {number} was lost without a word"),
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
