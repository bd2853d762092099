//! Rows about blocks, and the tally.

use edge_core::outbox::{Block, BlockId, Resolution, Stream, Tally};
use millwright_proto::ids::Lineage;

use super::{Kind, Row, stream_code};

const fn resolution_code(resolution: Resolution) -> u8 {
    match resolution {
        Resolution::Recorded => 1,
        Resolution::TenMinutes => 2,
        Resolution::Hour => 3,
        Resolution::Day => 4,
    }
}

/// Where a block stands in its stream, and what it is.
pub(in crate::store) fn encode_block(
    lineage: Lineage,
    stream: Stream,
    (first, last): (u64, u64),
    block: &Block,
) -> Vec<u8> {
    let mut payload = block.id.0.to_be_bytes().to_vec();
    payload.extend_from_slice(&block.records.to_be_bytes());
    payload.extend_from_slice(&block.payload_bytes.to_be_bytes());
    payload.extend_from_slice(&block.disk_bytes.to_be_bytes());
    payload.push(resolution_code(block.resolution));
    Row {
        kind: Kind::Block,
        stream: stream_code(stream),
        lineage,
        first,
        last,
        payload: &payload,
    }
    .encode()
}

/// The block in a row that stands under the key of `id`.
pub(in crate::store) fn decode_block(row: &Row<'_>, id: BlockId) -> Option<Block> {
    let (named, rest) = row.payload.split_first_chunk::<8>()?;
    let (records, rest) = rest.split_first_chunk::<4>()?;
    let (payload_bytes, rest) = rest.split_first_chunk::<8>()?;
    let (disk_bytes, rest) = rest.split_first_chunk::<8>()?;
    let [code] = *rest else {
        return None;
    };
    let resolution = Resolution::ALL
        .into_iter()
        .find(|resolution| resolution_code(*resolution) == code)?;
    let block = Block {
        id,
        records: u32::from_be_bytes(*records),
        payload_bytes: u64::from_be_bytes(*payload_bytes),
        disk_bytes: u64::from_be_bytes(*disk_bytes),
        resolution,
    };
    let sound = row.kind == Kind::Block
        && u64::from_be_bytes(*named) == id.0
        && (1..=row.last).contains(&row.first);
    sound.then_some(block)
}

/// The totals of what was lost and merged.
pub(in crate::store) fn encode_tally(lineage: Lineage, tally: Tally) -> Vec<u8> {
    let numbers = tally.lost.into_iter().chain([tally.merged]);
    let payload: Vec<u8> = numbers.flat_map(u64::to_be_bytes).collect();
    Row {
        kind: Kind::Tally,
        stream: 0,
        lineage,
        first: 0,
        last: 0,
        payload: &payload,
    }
    .encode()
}

pub(in crate::store) fn decode_tally(row: &Row<'_>) -> Option<Tally> {
    let (numbers, []) = row.payload.as_chunks::<8>() else {
        return None;
    };
    let [a, b, c, d, merged] = <[[u8; 8]; 5]>::try_from(numbers)
        .ok()?
        .map(u64::from_be_bytes);
    (row.kind == Kind::Tally).then_some(Tally {
        lost: [a, b, c, d],
        merged,
    })
}
