use edge_core::outbox::{Block, Resolution, Tally};

use super::*;

const LINEAGE: Lineage = Lineage::from_bytes(*b"lineage-lineage-");

fn hex_of(bytes: &[u8]) -> String {
    hex::encode(bytes)
}

/// Rows as version 1 wrote them. A change here needs a new version and a reader for the old one.
#[test]
fn stored_rows_have_their_golden_bytes() {
    let record = Row {
        kind: Kind::Record,
        stream: stream_code(Stream::Summaries),
        lineage: LINEAGE,
        first: 7,
        last: 9,
        payload: b"window",
    };
    assert_eq!(
        hex_of(&record.encode()),
        "903427f20101026c696e656167652d6c696e656167652d0000000000000007000000000000000977696e646f77"
    );
    let gap = encode_gap(LINEAGE, Stream::Events, 1, 2, GapReason::FateUnknown);
    assert_eq!(
        hex_of(&gap),
        "58c1641e0102016c696e656167652d6c696e656167652d0000000000000001000000000000000203"
    );
    let head = Head {
        acknowledged: 3,
        offered_up_to: 5,
        next: 10,
    };
    assert_eq!(
        hex_of(&encode_head(LINEAGE, Stream::Events, head)),
        "ea1789660103016c696e656167652d6c696e656167652d0000000000000003000000000000000a0000000000000005"
    );
    let identity = Identity {
        lineage: LINEAGE,
        secret: b"secret".to_vec(),
        worked: Some(Transport::WebSocket),
    };
    assert_eq!(
        hex_of(&identity.encode()),
        "51d165070104006c696e656167652d6c696e656167652d0000000000000000000000000000000002736563726574"
    );
    let block = Block {
        id: BlockId(0x0102_0304_0506_0708),
        records: 3,
        payload_bytes: 600,
        disk_bytes: 4096,
        resolution: Resolution::Hour,
    };
    let stored = encode_block(LINEAGE, Stream::Summaries, (7, 9), &block);
    assert_eq!(
        hex_of(&stored),
        "43f08cf70106026c696e656167652d6c696e656167652d000000000000000700000000000000090102030405060708000000030000000000000258000000000000100003"
    );
    let row = Row::decode(&stored).unwrap();
    assert_eq!((row.first, row.last), (7, 9));
    assert_eq!(decode_block(&row, block.id), Some(block));
    let tally = Tally {
        lost: [1, 2, 3, 4],
        merged: 5,
    };
    let stored = encode_tally(LINEAGE, tally);
    assert_eq!(
        hex_of(&stored),
        "c72bf8490107006c696e656167652d6c696e656167652d0000000000000000000000000000000000000000000000010000000000000002000000000000000300000000000000040000000000000005"
    );
    assert_eq!(
        Row::decode(&stored).and_then(|row| decode_tally(&row)),
        Some(tally)
    );
    assert_eq!(hex_of(&Key::Block(block.id).encode()), "030102030405060708");
    assert_eq!(hex_of(&Key::Tally.encode()), "0009");
    assert_eq!(
        hex_of(&Key::Entry(Stream::Summaries, 258).encode()),
        "020000000000000102"
    );
}

#[test]
fn rows_round_trip() {
    let head = Head {
        acknowledged: 3,
        offered_up_to: 5,
        next: 10,
    };
    let bytes = encode_head(LINEAGE, Stream::Summaries, head);
    assert_eq!(
        Row::decode(&bytes).and_then(|row| decode_head(&row)),
        Some(head)
    );
    let bytes = encode_gap(LINEAGE, Stream::Summaries, 4, 8, GapReason::Quarantined);
    let row = Row::decode(&bytes).unwrap();
    assert_eq!((row.first, row.last), (4, 8));
    assert_eq!(decode_gap_reason(row.payload), Some(GapReason::Quarantined));
    for key in [
        Key::Entry(Stream::Events, u64::MAX),
        Key::Head(Stream::Summaries),
        Key::Greeting,
    ] {
        assert_eq!(Key::decode(&key.encode()), Some(key));
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let bytes = encode_gap(LINEAGE, Stream::Events, 1, 2, GapReason::Evicted);
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Row::decode(&damaged), None, "bit {bit}");
    }
    assert_eq!(Row::decode(&bytes[..bytes.len() - 1]), None);
}
