use super::super::tests::{keep, pipeline};
use super::super::{Example, Store};
use super::*;

fn ask(what: hard_example_ask::What) -> HardExampleAsk {
    HardExampleAsk {
        id: 9,
        what: Some(what),
    }
}

fn chunk_of(example: &Example, offset: u64) -> HardExampleAsk {
    ask(hard_example_ask::What::Chunk(HardExampleChunkAsk {
        pipeline: "gate".to_owned(),
        example: example.id.clone(),
        part: HardExamplePart::Data.into(),
        offset,
        length: u32::MAX,
    }))
}

fn everything() -> HardExampleAsk {
    ask(hard_example_ask::What::List(HardExampleListAsk::default()))
}

fn refused(answer: HardExampleAnswer) -> (HardExampleRefusal, String) {
    assert_eq!(answer.id, 9);
    match answer.what {
        Some(hard_example_answer::What::Refused(refused)) => (refused.reason(), refused.message),
        other => panic!("not refused: {other:?}"),
    }
}

fn chunk(answer: HardExampleAnswer) -> HardExampleChunk {
    match answer.what {
        Some(hard_example_answer::What::Chunk(chunk)) => chunk,
        other => panic!("no chunk: {other:?}"),
    }
}

#[test]
fn nothing_is_told_without_the_owners_leave_and_the_reason_says_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::open(root.path(), &pipeline(), 1 << 20).unwrap();
    let example = keep(&mut store, b"picture", 5);
    let answers = Answers::new(root.path().to_owned(), Permission::Denied);
    for ask in [everything(), chunk_of(&example, 0)] {
        let (reason, message) = refused(answers.answer(&ask));
        assert_eq!(reason, HardExampleRefusal::Denied);
        assert!(message.contains("hardExamples: allowed"), "{message}");
    }
}

#[test]
fn a_list_has_what_is_there_and_goes_on_after_the_last_one() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::open(root.path(), &pipeline(), 1 << 20).unwrap();
    let kept: Vec<_> = (0..3).map(|at| keep(&mut store, b"picture", at)).collect();
    let answers = Answers::new(root.path().to_owned(), Permission::Allowed);
    let listed = |pipeline: &str, after: &str| {
        let list = HardExampleListAsk {
            pipeline: pipeline.to_owned(),
            after_pipeline: "gate".to_owned(),
            after_example: after.to_owned(),
        };
        let answer = answers.answer(&ask(hard_example_ask::What::List(list)));
        match answer.what {
            Some(hard_example_answer::What::Entries(told)) => {
                assert!(!told.more);
                let ids = told.entries.into_iter().map(|entry| entry.example);
                ids.collect::<Vec<_>>()
            }
            other => panic!("no list: {other:?}"),
        }
    };
    assert_eq!(listed("", "").len(), 3);
    assert_eq!(listed("gate", &kept[0].id), [&*kept[1].id, &kept[2].id]);
    assert_eq!(listed("other", ""), Vec::<String>::new());
}

#[test]
fn a_file_comes_in_chunks_and_whole_even_when_the_example_gives_way_meanwhile() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::open(root.path(), &pipeline(), 1 << 20).unwrap();
    let data: Vec<u8> = (0..CHUNK_BYTES_MAX + 10)
        .map(|at| (at % 251) as u8)
        .collect();
    let example = keep(&mut store, &data, 5);
    let answers = Answers::new(root.path().to_owned(), Permission::Allowed);
    let first = chunk(answers.answer(&chunk_of(&example, 0)));
    assert_eq!(first.bytes.len(), CHUNK_BYTES_MAX);
    assert_eq!(first.total_bytes, data.len() as u64);
    assert_eq!(first.digest, Some(Digest::of(&data).into()));
    std::fs::remove_dir_all(root.path().join("gate")).unwrap();
    let second = chunk(answers.answer(&chunk_of(&example, CHUNK_BYTES_MAX as u64)));
    assert_eq!([first.bytes, second.bytes].concat(), data);
    let (reason, message) = refused(answers.answer(&chunk_of(&example, 0)));
    assert_eq!(reason, HardExampleRefusal::Gone, "{message}");
}

#[test]
fn asks_that_cannot_be_meant_reach_no_file_outside() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::open(root.path(), &pipeline(), 1 << 20).unwrap();
    let example = keep(&mut store, b"picture", 5);
    let answers = Answers::new(root.path().join("gate"), Permission::Allowed);
    for (pipeline, id) in [
        ("..", &*example.id),
        ("../gate", &example.id),
        ("gate", "../1-2"),
    ] {
        let piece = HardExampleChunkAsk {
            pipeline: pipeline.to_owned(),
            example: id.to_owned(),
            part: HardExamplePart::Data.into(),
            offset: 0,
            length: 1,
        };
        let (reason, _) = refused(answers.answer(&ask(hard_example_ask::What::Chunk(piece))));
        let known = [HardExampleRefusal::Malformed, HardExampleRefusal::Gone];
        assert!(known.contains(&reason), "{pipeline}/{id}: {reason:?}");
    }
    let answers = Answers::new(root.path().to_owned(), Permission::Allowed);
    let (reason, _) = refused(answers.answer(&chunk_of(&example, 8)));
    assert_eq!(reason, HardExampleRefusal::Malformed);
}
