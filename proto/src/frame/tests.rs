use proptest::prelude::*;

use super::*;
use crate::link::{Ack, Downlink, Record, Uplink, downlink, uplink};

fn record(payload: Vec<u8>) -> Uplink {
    let body = uplink::Body::Record(Record {
        payload: payload.into(),
        ..Record::default()
    });
    Uplink { body: Some(body) }
}

#[test]
fn a_frame_has_its_length_before_it_in_big_endian() {
    let ack = downlink::Body::Ack(Ack {
        stream: 1,
        through: 5,
    });
    let frame = encode_delimited(&Downlink { body: Some(ack) }).unwrap();
    assert_eq!(frame.as_ref(), [0, 0, 0, 6, 0x12, 4, 8, 1, 0x10, 5]);
}

#[test]
fn a_body_may_be_as_long_as_the_bound_and_not_a_byte_longer() {
    // The envelope of a record of this size takes 10 bytes: two tags and two lengths.
    let longest = record(vec![7; FRAME_BYTES_MAX - 8]);
    assert_eq!(longest.encoded_len(), FRAME_BYTES_MAX);
    let body = encode_body(&longest).unwrap();
    assert_eq!(decode_body(body), Ok(longest));

    let longer = record(vec![7; FRAME_BYTES_MAX - 7]);
    let refused = FrameError::TooLong {
        length: FRAME_BYTES_MAX + 1,
    };
    assert_eq!(encode_body(&longer), Err(refused));
    let refused = FrameError::TooLong {
        length: FRAME_BYTES_MAX + 1,
    };
    assert_eq!(encode_delimited(&longer), Err(refused));
    let bytes = Bytes::from(longer.encode_to_vec());
    assert!(matches!(
        decode_body::<Uplink>(bytes),
        Err(FrameError::TooLong { .. })
    ));
}

#[test]
fn a_hostile_length_is_refused_before_the_body_comes() {
    let mut buffer = BytesMut::from(&[0xff, 0xff, 0xff, 0xff][..]);
    assert_eq!(
        split_delimited(&mut buffer),
        Err(FrameError::TooLong {
            length: 0xffff_ffff
        })
    );
    assert!(buffer.capacity() < 64, "nothing was allocated for it");
}

#[test]
fn an_empty_frame_is_a_message_without_a_body() {
    let mut buffer = BytesMut::from(&[0, 0, 0, 0][..]);
    let body = split_delimited(&mut buffer).unwrap().unwrap();
    assert_eq!(decode_body(body), Ok(Uplink { body: None }));
}

proptest! {
    #[test]
    fn frames_come_out_as_they_went_in_however_the_stream_is_cut(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
        piece in 1..64_usize,
    ) {
        let sent: Vec<Uplink> = payloads.into_iter().map(record).collect();
        let mut stream = Vec::new();
        for message in &sent {
            stream.extend(encode_delimited(message).unwrap());
        }
        let mut buffer = BytesMut::new();
        let mut received: Vec<Uplink> = Vec::new();
        for piece in stream.chunks(piece) {
            buffer.extend_from_slice(piece);
            while let Some(body) = split_delimited(&mut buffer).unwrap() {
                received.push(decode_body(body).unwrap());
            }
        }
        prop_assert_eq!(received, sent);
        prop_assert!(buffer.is_empty());
    }

    #[test]
    fn hostile_streams_end_in_a_frame_a_wait_or_an_error(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut buffer = BytesMut::from(bytes.as_slice());
        while let Ok(Some(body)) = split_delimited(&mut buffer) {
            let _ = decode_body::<Uplink>(body.clone());
            let _ = decode_body::<Downlink>(body);
        }
    }
}
