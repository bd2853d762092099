//! A backlog long enough to be sealed: blocks survive, their damage is declared, their room comes back.

use edge_core::outbox::{BlockId, Resolution, SEAL_RECORDS};

use super::super::blocks::{Blocks, Sealing};
use super::*;

/// Enough for one block and a few rows behind it.
const LONG: usize = SEAL_RECORDS as usize + 40;

fn block_files(outbox: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(outbox.join("blocks"))
        .into_iter()
        .flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Appends in groups, as fast as the disk allows.
async fn fill_fast(outbox: &Outbox, count: usize) {
    let numbers: Vec<usize> = (1..=count).collect();
    for group in numbers.chunks(64) {
        let appends = group
            .iter()
            .map(|number| outbox.append(Stream::Summaries, payload(*number)));
        futures_util::future::try_join_all(appends).await.unwrap();
    }
}

/// Takes everything there is to send, acknowledging it.
async fn drain_all(outbox: &Outbox) -> Vec<Outgoing> {
    let mut all = drain(outbox, 0).await;
    loop {
        let last = all.last().unwrap().last;
        outbox.acknowledge(Stream::Summaries, last).await.unwrap();
        let more = outbox.offer(ROOM).await.unwrap();
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

#[tokio::test]
async fn a_long_backlog_lies_in_blocks_and_comes_back_record_by_record() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("outbox");
    let (outbox, _) = open(&directory).await;
    fill_fast(&outbox, LONG).await;
    outbox.close().await;
    assert!(!block_files(&directory).is_empty());
    // What a kill between a block's file and its row leaves behind.
    std::fs::write(directory.join("blocks").join("00000000000000aa"), b"half").unwrap();
    let (outbox, notes) = open(&directory).await;
    assert_eq!(notes, []);
    assert!(!directory.join("blocks").join("00000000000000aa").exists());
    assert_eq!(outbox.stats().await.unwrap().backlog.records, LONG as u64);
    let all = drain_all(&outbox).await;
    assert_eq!(all, (1..=LONG).map(record).collect::<Vec<_>>());
    outbox.close().await;
    // The tail that is kept for a restored cloud holds its block; nothing older does.
    assert!(block_files(&directory).len() <= 1);
}

#[tokio::test]
async fn a_session_that_ends_inside_a_block_goes_on_there_after_a_restart() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("outbox");
    let (outbox, _) = open(&directory).await;
    fill_fast(&outbox, LONG).await;
    outbox.greet().await.unwrap();
    outbox
        .welcomed(Transport::Quic, b"secret".to_vec(), Vec::new())
        .await
        .unwrap();
    let some = Room {
        records: 30,
        ..ROOM
    };
    assert_eq!(outbox.offer(some).await.unwrap().len(), 30);
    outbox.acknowledge(Stream::Summaries, 10).await.unwrap();
    outbox.close().await;
    let (outbox, notes) = open(&directory).await;
    assert_eq!(notes, []);
    assert_eq!(
        outbox.stats().await.unwrap().backlog.records,
        LONG as u64 - 10
    );
    let offered = drain(&outbox, 25).await;
    assert_eq!(offered[0], record(26));
}

#[tokio::test]
async fn damage_in_a_block_costs_the_records_it_hits_and_is_declared() {
    let parent = tempfile::tempdir().unwrap();
    let pristine = parent.path().join("pristine").join("outbox");
    std::fs::create_dir_all(pristine.parent().unwrap()).unwrap();
    let (outbox, _) = open(&pristine).await;
    fill_fast(&outbox, LONG).await;
    outbox.close().await;
    let name = block_files(&pristine)[0].file_name().unwrap().to_owned();
    let bytes = std::fs::read(pristine.join("blocks").join(&name)).unwrap();
    for round in 0..24 {
        let directory = parent.path().join(format!("{round}")).join("outbox");
        copy(&pristine, &directory);
        let file = directory.join("blocks").join(&name);
        let at = bytes.len() * round / 24 + round;
        let mut damaged = bytes.clone();
        match round % 4 {
            0 => damaged.truncate(at),
            1 => damaged[at..(at + 512).min(bytes.len())].fill(0),
            _ => damaged[at] ^= 1 << (round % 8),
        }
        if round == 20 {
            std::fs::remove_file(&file).unwrap();
        } else {
            std::fs::write(&file, damaged).unwrap();
        }
        let (outbox, _) = open(&directory).await;
        let all = drain_all(&outbox).await;
        assert_told(&all, LONG, round);
        let gaps = |o: &&Outgoing| matches!(o.body, OutgoingBody::Gap(_));
        let lost: u64 = all.iter().filter(gaps).map(|o| o.last - o.first + 1).sum();
        assert!(lost > 0, "round {round} hit nothing");
        let stats = outbox.stats().await.unwrap();
        assert_eq!(stats.losses.get(&GapReason::Corrupt), Some(&lost));
        outbox.close().await;
    }
}

/// A copy of the files of an open store is what a killed process leaves behind.
#[tokio::test]
async fn nothing_is_lost_by_a_kill_around_a_seal() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("live").join("outbox");
    std::fs::create_dir_all(directory.parent().unwrap()).unwrap();
    let (outbox, _) = open(&directory).await;
    let before = SEAL_RECORDS as usize - 3;
    fill_fast(&outbox, before).await;
    for kill in before + 1..before + 7 {
        let place = outbox.append(Stream::Summaries, payload(kill)).await;
        assert_eq!(place.unwrap().sequence, kill as u64);
        let left = parent.path().join(format!("killed-{kill}")).join("outbox");
        copy(&directory, &left);
        let (reopened, notes) = open(&left).await;
        let lost = notes
            .iter()
            .any(|note| !matches!(note, RecoveryNote::Repaired { .. }));
        assert!(!lost, "{notes:?}");
        let all = drain_all(&reopened).await;
        assert_eq!(all, (1..=kill).map(record).collect::<Vec<_>>());
        reopened.close().await;
    }
}

/// A block as version 1 wrote it. A change here needs a new version and a reader for the old one.
#[test]
fn block_files_have_their_golden_bytes() {
    let golden = include_bytes!("../../../../golden/outbox-block-v1.bin");
    let lineage = Lineage::from_bytes(*b"lineage-lineage-");
    let id = BlockId(0x0102_0304_0506_0708);
    let long: Vec<u8> = (0..=255).collect();
    let sealing = |first, last, payload: &[u8]| Sealing {
        first,
        last,
        payload: Bytes::copy_from_slice(payload),
    };
    let records = [
        sealing(7, 7, b"first"),
        sealing(8, 17, b""),
        sealing(18, 18, &long),
    ];
    let directory = tempfile::tempdir().unwrap();
    let blocks = Blocks::open(directory.path(), lineage, &BTreeSet::from([id])).unwrap();
    let block = blocks
        .write(id, Stream::Summaries, Resolution::Recorded, &records)
        .unwrap();
    assert_eq!((block.records, block.payload_bytes), (3, 261));
    let file = directory.path().join("blocks").join("0102030405060708");
    assert_eq!(std::fs::read(&file).unwrap(), golden);

    std::fs::write(&file, golden).unwrap();
    let loaded = blocks.load(id, Stream::Summaries).unwrap();
    let read: Vec<Sealing> = loaded
        .pieces(7, 18)
        .iter()
        .map(|piece| Sealing {
            first: piece.first,
            last: piece.last,
            payload: loaded.payload(piece.index).unwrap(),
        })
        .collect();
    assert_eq!(read, records);
    // Of another version nothing is read, rather than something else.
    let mut later = golden.to_vec();
    later[4] = 2;
    let crc = crc32c::crc32c(&later[4..34]);
    later[..4].copy_from_slice(&crc.to_be_bytes());
    std::fs::write(&file, later).unwrap();
    let loaded = blocks.load(id, Stream::Summaries).unwrap();
    assert_eq!(loaded.pieces(7, 18), []);
}
