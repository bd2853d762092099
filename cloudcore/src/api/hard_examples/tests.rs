use axum::http::{Method, StatusCode};
use fleet_api::HardExamplePiece;
use http_body_util::BodyExt as _;
use millwright_proto::Digest;
use millwright_proto::ids::{Lineage, NodeUid};
use millwright_proto::link::{
    HardExampleAnswer, HardExampleChunk, HardExampleChunkAsk, HardExampleEntries, HardExamplePart,
    HardExampleRefusal, HardExampleRefused, hard_example_answer, hard_example_ask,
};
use serde_json::{Value, json};

use super::*;
use crate::api::tests::Server;
use crate::hub::asks::{Desk, Support};
use crate::store::NewNodeIdentity;
use crate::tasks::ingest::SessionKey;

const UID: NodeUid = NodeUid::from_bytes([7; 16]);
const FIRST: &str = "1790000000000-00000001";
const SECOND: &str = "1790000000000-00000002";
const LIST: &str = "nodes/press-1/hard-examples";
const FETCH: &str = "nodes/press-1/hard-examples/fetch";

/// A server with one node, and what its session is asked through.
async fn connected() -> (Server, Desk) {
    let server = Server::start().await;
    let now = Timestamp::now();
    let mut write = server.app.store.write().await.unwrap();
    let node = NewNodeIdentity::press_1(UID, now);
    write.insert_node_identity(&node, now).await.unwrap();
    write.commit().await.unwrap();
    let session = SessionKey {
        uid: UID,
        term: 1,
        lineage: Lineage::from_bytes([1; 16]),
    };
    let desk = server.app.asks.open(&session, Support::Answers);
    (server, desk)
}

/// The node's part: answers `count` asks.
async fn answer(
    desk: &mut Desk,
    count: usize,
    mut how: impl FnMut(hard_example_ask::What) -> hard_example_answer::What,
) {
    for _ in 0..count {
        let ask = desk.next().await;
        let what = Some(how(ask.what.unwrap()));
        desk.answered(HardExampleAnswer { id: ask.id, what });
    }
}

fn entry(id: &str, name: &str) -> HardExampleEntry {
    HardExampleEntry {
        pipeline: "gate".to_owned(),
        example: id.to_owned(),
        data_name: name.to_owned(),
        kept_ms: 1_790_000_000_000,
        ..HardExampleEntry::default()
    }
}

fn entries(entry: HardExampleEntry) -> hard_example_answer::What {
    hard_example_answer::What::Entries(HardExampleEntries {
        entries: vec![entry],
        more: true,
    })
}

fn refused(reason: HardExampleRefusal) -> hard_example_answer::What {
    hard_example_answer::What::Refused(HardExampleRefused {
        reason: reason.into(),
        message: "it is\u{7} so".to_owned(),
    })
}

/// A file of six bytes, four at a time; only the first example is there.
fn chunk(what: hard_example_ask::What) -> hard_example_answer::What {
    let hard_example_ask::What::Chunk(ask) = what else {
        panic!("{what:?} is no chunk");
    };
    if ask.example != FIRST {
        return refused(HardExampleRefusal::Gone);
    }
    piece(
        &ask,
        if ask.part() == HardExamplePart::Data {
            "jpg"
        } else {
            "json"
        },
    )
}

fn piece(ask: &HardExampleChunkAsk, ending: &str) -> hard_example_answer::What {
    let from = usize::try_from(ask.offset).unwrap();
    hard_example_answer::What::Chunk(HardExampleChunk {
        name: format!("{}.{ending}", ask.example),
        total_bytes: 6,
        digest: Some(Digest::of(b"abcdef").into()),
        offset: ask.offset,
        bytes: b"abcdef"[from..6.min(from + 4)].to_vec().into(),
    })
}

/// Details of the newest audit rows, the newest first.
async fn audited(server: &Server, count: usize) -> Vec<(String, String)> {
    let rows = server.get(&format!("audit?limit={count}")).await;
    let rows = rows["items"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    rows.map(|row| (text(&row["outcome"]), text(&row["detail"])))
        .collect()
}

fn body(ids: &[&str]) -> Value {
    let examples = ids.iter().map(|id| json!({"pipeline": "gate", "id": id}));
    json!({"examples": examples.collect::<Vec<_>>()})
}

/// The lines of an answer, with the bytes of all chunks.
async fn fetched(server: &Server, ids: &[&str]) -> (Vec<HardExamplePiece>, Vec<u8>) {
    let request = server.request(Method::POST, FETCH, body(ids).to_string());
    let response = server.send(request).await;
    assert_eq!(response.status(), StatusCode::OK);
    let all = response.into_body().collect().await.unwrap().to_bytes();
    let (mut rest, mut pieces, mut content) = (&all[..], Vec::new(), Vec::new());
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap();
        let piece = serde_json::from_slice(&rest[..end]).unwrap();
        rest = &rest[end + 1..];
        if let HardExamplePiece::Chunk { bytes } = piece {
            let (chunk, after) = rest.split_at(usize::try_from(bytes).unwrap());
            content.extend_from_slice(chunk);
            rest = after;
        } else {
            pieces.push(piece);
        }
    }
    (pieces, content)
}

#[tokio::test]
async fn the_list_is_audited_before_the_node_is_asked_and_when_it_has_answered() {
    let (server, mut desk) = connected().await;
    let node = async {
        let ask = desk.next().await;
        let before = audited(&server, 1).await;
        assert_eq!(before[0].1, "asked for the list of hard examples");
        let what = Some(entries(entry(FIRST, &format!("{FIRST}.jpg"))));
        desk.answered(HardExampleAnswer { id: ask.id, what });
    };
    let ((status, list), ()) = tokio::join!(server.call(Method::GET, LIST, Value::Null), node);
    assert_eq!(status, StatusCode::OK, "{list}");
    assert_eq!(list["items"][0]["id"], FIRST);
    assert_eq!(list["continue"], format!("gate/{FIRST}"));
    let told = (
        "allowed".to_owned(),
        "1 hard examples were listed".to_owned(),
    );
    assert_eq!(audited(&server, 1).await[0], told);
}

#[tokio::test]
async fn an_example_that_would_lie_elsewhere_is_not_passed_on() {
    let (server, mut desk) = connected().await;
    for bad in [entry("../1-2", "../1-2.jpg"), entry(FIRST, "../x.jpg")] {
        let node = answer(&mut desk, 1, |_| entries(bad.clone()));
        let ((status, told), ()) = tokio::join!(server.call(Method::GET, LIST, Value::Null), node);
        assert_eq!(status, StatusCode::FAILED_DEPENDENCY, "{told}");
    }
    let node = answer(&mut desk, 1, |what| match what {
        hard_example_ask::What::Chunk(ask) => piece(&ask, "../x"),
        hard_example_ask::What::List(_) => panic!("a chunk is asked for"),
    });
    let ((pieces, content), ()) = tokio::join!(fetched(&server, &[FIRST]), node);
    assert!(
        matches!(&pieces[..], [HardExamplePiece::Failed(_)]),
        "{pieces:?}"
    );
    assert!(content.is_empty());
}

#[tokio::test]
async fn files_go_through_in_chunks_and_an_example_that_is_gone_is_named() {
    let (server, mut desk) = connected().await;
    // Two chunks each of two files, and one refusal.
    let node = answer(&mut desk, 5, chunk);
    let ((pieces, content), ()) = tokio::join!(fetched(&server, &[FIRST, SECOND]), node);
    assert_eq!(content, b"abcdefabcdef");
    let names: Vec<_> = pieces
        .iter()
        .map(|piece| match piece {
            HardExamplePiece::File { name, bytes, .. } => format!("{name} {bytes}"),
            HardExamplePiece::Missing { id, reason, .. } => format!("{id} {reason}"),
            HardExamplePiece::Done { files, bytes } => format!("{files} {bytes}"),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        format!("{FIRST}.jpg 6"),
        format!("{FIRST}.json 6"),
        format!("{SECOND} it is so"),
        "2 12".to_owned(),
    ];
    assert_eq!(names, expected);
    let rows = audited(&server, 2).await;
    assert_eq!(
        rows[0].1,
        "2 files with 12 bytes were fetched, 1 examples were missing"
    );
    assert_eq!(
        rows[1].1,
        format!("asked for 2 hard examples: gate/{FIRST} gate/{SECOND}")
    );
}

#[tokio::test]
async fn a_node_that_leaves_in_the_middle_is_told_and_audited() {
    let (server, mut desk) = connected().await;
    let node = async move {
        answer(&mut desk, 1, chunk).await;
        drop(desk);
    };
    let ((pieces, content), ()) = tokio::join!(fetched(&server, &[FIRST]), node);
    assert_eq!(content, b"abcd");
    let Some(HardExamplePiece::Failed(problem)) = pieces.last() else {
        panic!("{pieces:?}");
    };
    assert!(problem.kind.ends_with(":node-offline"), "{problem:?}");
    let rows = audited(&server, 1).await;
    assert_eq!(rows[0].0, "refused");
    assert!(rows[0].1.starts_with("0 files with 0 bytes"), "{rows:?}");
    let (status, told) = server.call(Method::POST, FETCH, body(&[FIRST])).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{told}");
}

#[tokio::test]
async fn what_cannot_be_an_example_is_not_asked_for() {
    let (server, _desk) = connected().await;
    let rows = audited(&server, 100).await.len();
    for bad in [body(&[]), body(&["../1-2"]), body(&[FIRST; 257])] {
        let (status, told) = server.call(Method::POST, FETCH, bad).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{told}");
    }
    let (status, _) = server
        .call(Method::GET, "nodes/press-2/hard-examples", Value::Null)
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(audited(&server, 100).await.len(), rows);
}
