//! Counts by class and by bin in few bytes.

use crate::baseline::{BINS_MAX, BaselineCounts, Histogram, ROWS_MAX};
use crate::classes::{CLASSES_MAX, Classes};
use crate::coder::{Counts, Decoder, Encoder};

/// Ends every packed form, so that none is empty and trailing zeros are never lost.
const END: u8 = 1;

pub(super) fn classes(classes: &Classes) -> Vec<u8> {
    if classes.is_empty() {
        return Vec::new();
    }
    let mut encoder = Encoder::new();
    let mut counts = Counts::new();
    encoder.whole(classes.other(), 0);
    encoder.whole(classes.iter().count() as u64, 3);
    let mut next = 0;
    for (class, count) in classes.iter() {
        encoder.whole(u64::from(class - next), 0);
        counts.encode(&mut encoder, count);
        next = class.saturating_add(1);
    }
    ended(encoder)
}

/// `None` when nobody can have counted that.
pub(super) fn read_classes(bytes: &[u8]) -> Option<Classes> {
    let mut classes = Classes::default();
    if bytes.is_empty() {
        return Some(classes);
    }
    let mut decoder = begun(bytes)?;
    let mut counts = Counts::new();
    classes.add_other(decoder.whole(0)?);
    let told = decoder.whole(3)?;
    if told > CLASSES_MAX as u64 {
        return None;
    }
    let mut next = 0_u64;
    for _ in 0..told {
        let class = next.checked_add(decoder.whole(0)?)?;
        classes.add_many(u32::try_from(class).ok()?, counts.decode(&mut decoder));
        next = class + 1;
    }
    Some(classes)
}

pub(super) fn rows(rows: &[Histogram]) -> Vec<u8> {
    let mut encoder = Encoder::new();
    let mut counts = Counts::new();
    let rows = &rows[..rows.len().min(ROWS_MAX)];
    encoder.whole(rows.len() as u64, 4);
    for row in rows {
        let bins = &row.counts[..row.counts.len().min(BINS_MAX)];
        encoder.whole(bins.len() as u64, 4);
        encoder.whole(row.missing, 0);
        encoder.whole(row.outside, 0);
        counts.begin_row();
        for count in bins {
            counts.encode(&mut encoder, *count);
        }
    }
    ended(encoder)
}

/// `None` when nobody can have counted that.
pub(super) fn read_rows(profile: u64, bytes: &[u8]) -> Option<BaselineCounts> {
    let mut decoder = begun(bytes)?;
    let mut counts = Counts::new();
    let told = decoder.whole(4)?;
    if told > ROWS_MAX as u64 || profile == 0 {
        return None;
    }
    let mut read = BaselineCounts {
        profile,
        rows: Vec::new(),
    };
    for _ in 0..told {
        let bins = decoder.whole(4)?;
        if bins > BINS_MAX as u64 {
            return None;
        }
        let (missing, outside) = (decoder.whole(0)?, decoder.whole(0)?);
        counts.begin_row();
        read.rows.push(Histogram {
            counts: (0..bins).map(|_| counts.decode(&mut decoder)).collect(),
            missing: crate::add_counts(missing, 0),
            outside: crate::add_counts(outside, 0),
        });
    }
    Some(read)
}

fn ended(encoder: Encoder) -> Vec<u8> {
    let mut bytes = encoder.finish();
    bytes.push(END);
    bytes
}

fn begun(bytes: &[u8]) -> Option<Decoder<'_>> {
    let (last, bytes) = bytes.split_last()?;
    (*last == END).then(|| Decoder::new(bytes))
}
