use edge_vision::{Class, Decoded};

use super::*;

fn shown(jpeg: &'static [u8], score: f32) -> Shown {
    let class = Class {
        score,
        ..Class::default()
    };
    let decoded = Decoded {
        classes: vec![class],
        ..Decoded::default()
    };
    Shown {
        jpeg: Bytes::from_static(jpeg),
        decoded: Arc::new(decoded),
        taken_at: SystemTime::now(),
    }
}

fn counted(received: u64) -> Rates {
    Rates {
        received,
        ..Rates::default()
    }
}

#[tokio::test(start_paused = true)]
async fn rates_are_those_of_the_last_seconds_however_often_they_are_told() {
    let board = Board::default();
    // 10 a second for 20 s, told at every one.
    for count in 1..=200 {
        board.rates("line", counted(count));
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    let per_second = board.state("line").unwrap().per_second;
    assert!((per_second.received - 10.0).abs() < 0.5, "{per_second:?}");
    assert!(board.lock()["line"].counts.len() < 16);
    // 10 s later nothing has come: it runs out.
    tokio::time::advance(Duration::from_secs(60)).await;
    let per_second = board.state("line").unwrap().per_second;
    assert!(per_second.received < 1.0, "{per_second:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_that_begins_anew_has_no_negative_rate() {
    let board = Board::default();
    board.rates("line", counted(1000));
    tokio::time::advance(Duration::from_secs(1)).await;
    board.rates("line", counted(3));
    assert_eq!(board.state("line").unwrap().per_second.received, 0.0);
}

#[tokio::test(start_paused = true)]
async fn frames_are_wanted_often_by_somebody_who_looks_and_seldom_otherwise() {
    let board = Board::default();
    let wanted_in = async |seconds: u64| {
        let mut wanted = 0;
        for _ in 0..seconds * 100 {
            tokio::time::advance(Duration::from_millis(10)).await;
            if board.wants_picture("line") {
                board.publish("line", shown(b"jpeg", 0.5));
                wanted += 1;
            }
        }
        wanted
    };
    assert_eq!(wanted_in(10).await, 5);
    drop(board.watch("line").unwrap());
    assert!((35..=40).contains(&wanted_in(3).await));
    assert_eq!(wanted_in(10).await, 5);
}

#[test]
fn a_result_without_a_frame_keeps_the_last_one() {
    let board = Board::default();
    board.publish("line", shown(b"jpeg", 0.5));
    board.publish("line", shown(b"", 0.7));
    let frames = board.watch("line").unwrap();
    assert_eq!(&frames.borrow().as_ref().unwrap().jpeg[..], b"jpeg");
    let confidences = board.state("line").unwrap().confidences;
    assert_eq!(
        confidences,
        [0.5, 0.7].map(|score: f32| Some(f64::from(score)))
    );
}

#[test]
fn what_is_kept_is_bounded() {
    let board = Board::default();
    for pipeline in 0..PIPELINES_MAX + 10 {
        board.publish(&format!("p{pipeline}"), shown(b"", 0.5));
    }
    assert_eq!(board.list().len(), PIPELINES_MAX);
    for _ in 0..CONFIDENCES_MAX + 10 {
        board.publish("p0", shown(b"", 0.5));
    }
    assert_eq!(
        board.state("p0").unwrap().confidences.len(),
        CONFIDENCES_MAX
    );
}
