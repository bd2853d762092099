//! What travels when an operator fetches hard examples.

use bytes::Bytes;
use millwright_proto::link::{
    self, HardExampleAnswer, HardExampleAsk, downlink, hard_example_answer, hard_example_ask,
    uplink,
};

use crate::samples::{Sample, digest, down, up};

const EXAMPLE: &str = "1790000000000-00000012";

pub(crate) fn samples() -> Vec<Sample> {
    let list = link::HardExampleListAsk {
        pipeline: "gate".to_owned(),
        after_pipeline: "gate".to_owned(),
        after_example: EXAMPLE.to_owned(),
    };
    let piece = link::HardExampleChunkAsk {
        pipeline: "gate".to_owned(),
        example: EXAMPLE.to_owned(),
        part: link::HardExamplePart::Description.into(),
        offset: 32_768,
        length: 4_096,
    };
    let entries = link::HardExampleEntries {
        entries: vec![entry()],
        more: true,
    };
    let chunk = link::HardExampleChunk {
        name: format!("{EXAMPLE}.jpg"),
        total_bytes: 40_000,
        digest: digest("picture"),
        offset: 32_768,
        bytes: Bytes::from_static(&[0xff, 0xd8]),
    };
    let refused = link::HardExampleRefused {
        reason: link::HardExampleRefusal::Denied.into(),
        message: "the owner of this node does not allow it".to_owned(),
    };
    let ask = |name, what| {
        let ask = HardExampleAsk {
            id: 9,
            what: Some(what),
        };
        down(name, downlink::Body::HardExampleAsk(ask))
    };
    let answer = |name, what| {
        let answer = HardExampleAnswer {
            id: 9,
            what: Some(what),
        };
        up(name, uplink::Body::HardExampleAnswer(answer))
    };
    vec![
        ask(
            "downlink-hard-example-list",
            hard_example_ask::What::List(list),
        ),
        ask(
            "downlink-hard-example-chunk",
            hard_example_ask::What::Chunk(piece),
        ),
        answer(
            "uplink-hard-example-entries",
            hard_example_answer::What::Entries(entries),
        ),
        answer(
            "uplink-hard-example-chunk",
            hard_example_answer::What::Chunk(chunk),
        ),
        answer(
            "uplink-hard-example-refused",
            hard_example_answer::What::Refused(refused),
        ),
    ]
}

fn entry() -> link::HardExampleEntry {
    link::HardExampleEntry {
        pipeline: "gate".to_owned(),
        example: EXAMPLE.to_owned(),
        model: "face-detector".to_owned(),
        version: "1.0.0".to_owned(),
        reason: "lowConfidence".to_owned(),
        kept_ms: 1_790_000_000_000,
        confidence: Some(0.25),
        data_name: format!("{EXAMPLE}.jpg"),
        data_bytes: 40_000,
        data_crc32c: 0xdead_beef,
    }
}
