//! The bytes of every message, as version 1 wrote them.
//!
//! `golden/v1/<name>.hex` holds what [`samples`] encodes to; every field has a value, so that a
//! changed number or type shows. The files never change: a message that gains a field keeps its old
//! file and gets one more. A failure of the first test prints the bytes as they are now.

#[path = "golden/hard_examples.rs"]
mod hard_examples;
#[path = "golden/samples.rs"]
mod samples;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use millwright_proto::frame::decode_body;
use millwright_proto::link::{self, Downlink, Uplink, downlink, uplink};
use proptest::prelude::*;
use samples::{Sample, samples};

/// Files in the same folder that other crates own.
const FOREIGN: [&str; 2] = ["window", "window-packed"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/v1")
}

fn golden(name: &str) -> Vec<u8> {
    let path = folder().join(format!("{name}.hex"));
    let text = fs::read_to_string(&path).unwrap_or_default();
    let digits: String = text.split_whitespace().collect();
    hex::decode(digits).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn version_1_bytes_are_read_and_written_unchanged() {
    for sample in samples() {
        let bytes = golden(sample.name);
        assert_eq!(
            hex::encode(sample.encode()),
            hex::encode(&bytes),
            "{}",
            sample.name
        );
        sample.assert_decodes_from(bytes.into());
    }
}

#[test]
fn every_file_has_a_sample() {
    let files: BTreeSet<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .filter(|name| !FOREIGN.contains(&name.as_str()))
        .collect();
    let named: BTreeSet<String> = samples().iter().map(|s| s.name.to_owned()).collect();
    assert_eq!(files, named);
}

#[test]
fn every_body_of_both_directions_has_a_sample() {
    let mut seen = BTreeSet::new();
    for sample in samples() {
        let body = Bytes::from(golden(sample.name));
        if sample.name.starts_with("uplink-") {
            seen.extend(decode_body::<Uplink>(body).unwrap().body.map(uplink_name));
        } else if sample.name.starts_with("downlink-") {
            seen.extend(
                decode_body::<Downlink>(body)
                    .unwrap()
                    .body
                    .map(downlink_name),
            );
        }
    }
    // A new body does not compile in the two functions below until it is named there, and fails
    // here until it has a sample.
    assert_eq!(seen.len(), UPLINK_BODIES + DOWNLINK_BODIES, "{seen:?}");
}

const UPLINK_BODIES: usize = 5;
const DOWNLINK_BODIES: usize = 7;

fn uplink_name(body: uplink::Body) -> &'static str {
    match body {
        uplink::Body::Hello(_) => "hello",
        uplink::Body::Record(_) => "record",
        uplink::Body::Gap(_) => "gap",
        uplink::Body::Applied(_) => "applied",
        uplink::Body::HardExampleAnswer(_) => "hard example answer",
    }
}

fn downlink_name(body: downlink::Body) -> &'static str {
    match body {
        downlink::Body::Welcome(_) => "welcome",
        downlink::Body::Ack(_) => "ack",
        downlink::Body::Desired(_) => "desired",
        downlink::Body::ComeBack(_) => "come back",
        downlink::Body::Fenced(_) => "fenced",
        downlink::Body::Unsupported(_) => "unsupported",
        downlink::Body::HardExampleAsk(_) => "hard example ask",
    }
}

/// Fields 1000 to 1003 in each wire type: varint, fixed 64, bytes, fixed 32.
const UNKNOWN_FIELDS: [u8; 25] = [
    0xc0, 0x3e, 0x2a, //
    0xc9, 0x3e, 1, 2, 3, 4, 5, 6, 7, 8, //
    0xd2, 0x3e, 3, b'n', b'e', b'w', //
    0xdd, 0x3e, 1, 2, 3, 4,
];

#[test]
fn fields_of_newer_programs_are_tolerated() {
    for sample in samples() {
        let mut bytes = golden(sample.name);
        bytes.extend(UNKNOWN_FIELDS);
        sample.assert_decodes_from(bytes.into());
    }
}

#[test]
fn bodies_of_newer_programs_are_tolerated_and_seen_as_none() {
    // Field 99 with a message of one field, where a known body would stand.
    let newer = Bytes::from_static(&[0x9a, 0x06, 2, 8, 1]);
    assert_eq!(decode_body(newer.clone()), Ok(Uplink { body: None }));
    assert_eq!(decode_body(newer), Ok(Downlink { body: None }));
}

#[test]
fn enum_values_of_newer_programs_are_read_as_unspecified() {
    let gap = uplink::Body::Gap(link::Gap {
        stream: 77,
        reason: 78,
        ..link::Gap::default()
    });
    let bytes = prost::Message::encode_to_vec(&Uplink { body: Some(gap) });
    let read: Uplink = decode_body(bytes.into()).unwrap();
    let Some(uplink::Body::Gap(gap)) = read.body else {
        panic!("not a gap: {read:?}");
    };
    assert_eq!(gap.stream(), link::Stream::Unspecified);
    assert_eq!(gap.reason(), link::GapReason::Unspecified);
    assert_eq!(
        (gap.stream, gap.reason),
        (77, 78),
        "the number itself stays"
    );
}

/// Decodes as everything a peer may send.
fn decode_as_everything(bytes: &[u8]) {
    for sample in samples() {
        sample.try_decode(Bytes::copy_from_slice(bytes));
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        decode_as_everything(&bytes);
    }

    #[test]
    fn broken_messages_never_panic(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte: u8,
        cut in any::<prop::sample::Index>(),
    ) {
        let all: Vec<Sample> = samples();
        let mut bytes = all[which.index(all.len())].encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        decode_as_everything(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        decode_as_everything(&bytes);
    }
}
