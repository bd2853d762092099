use millwright_package::Datatype;

use super::*;
use crate::worker::tensor::{OutputSelection, Tensor};

const DELAY: Duration = Duration::from_millis(5);

/// A request of `rows` rows of `width` numbers, and where its answer would come.
fn job(rows: usize, width: usize) -> (Job, oneshot::Receiver<Result<InferOutput, InferError>>) {
    let (done, answer) = oneshot::channel();
    let tensor = Tensor {
        name: "x".to_owned(),
        datatype: Datatype::Fp32,
        shape: vec![rows, width],
        data: vec![0; rows * width * 4].into(),
    };
    let job = Job {
        input: InferInput {
            tensors: vec![tensor],
            outputs: OutputSelection::All,
            sequence: None,
        },
        rows,
        asked: Instant::now(),
        done,
    };
    (job, answer)
}

/// A queue that expects `together` requests and joins up to eight rows.
fn queue(together: usize) -> (Queue, mpsc::Sender<Job>) {
    let (jobs, arriving) = mpsc::channel(WAITING_MAX);
    let queue = Queue {
        rows_max: 8,
        delay_max: DELAY,
        arriving,
        waiting: VecDeque::new(),
        together,
    };
    (queue, jobs)
}

fn rows(batch: &[Job]) -> Vec<usize> {
    batch.iter().map(|job| job.rows).collect()
}

#[tokio::test(start_paused = true)]
async fn requests_that_do_not_come_again_are_waited_for_no_longer_than_the_manifest_says() {
    let (mut queue, jobs) = queue(3);
    let (first, _first) = job(1, 2);
    jobs.try_send(first).unwrap();
    let began = Instant::now();
    assert_eq!(rows(&queue.gather().await), [1]);
    assert_eq!(began.elapsed(), DELAY);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_when_all_are_there_or_when_no_more_rows_fit() {
    for (together, sizes) in [(1, vec![1]), (3, vec![1, 2, 1]), (9, vec![4, 4])] {
        let (mut queue, jobs) = queue(together);
        let mut answers = Vec::new();
        for &size in &sizes {
            let (job, answer) = job(size, 2);
            jobs.try_send(job).unwrap();
            answers.push(answer);
        }
        let began = Instant::now();
        assert_eq!(rows(&queue.gather().await), sizes);
        assert_eq!(began.elapsed(), Duration::ZERO, "{sizes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_comes_while_others_are_waited_for_joins_them_and_ends_the_wait() {
    let (mut queue, jobs) = queue(2);
    let ((first, _first), (second, _second)) = (job(1, 2), job(2, 2));
    jobs.try_send(first).unwrap();
    let began = Instant::now();
    let later = async {
        tokio::time::sleep(DELAY / 5).await;
        jobs.try_send(second).unwrap();
    };
    let (batch, ()) = tokio::join!(queue.gather(), later);
    assert_eq!(rows(&batch), [1, 2]);
    assert_eq!(began.elapsed(), DELAY / 5);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_stays_in_its_order_and_what_was_given_up_is_left_out() {
    let (mut queue, jobs) = queue(1);
    let mut answers = Vec::new();
    for (rows, width) in [(5, 2), (1, 3), (4, 2), (2, 2), (3, 2)] {
        let (job, answer) = job(rows, width);
        jobs.try_send(job).unwrap();
        answers.push(answer);
    }
    // The client of the two rows is gone.
    drop(answers.remove(3));
    // Five and three rows are the eight that fit; four do not fit beside five, and rows of three numbers are others.
    assert_eq!(rows(&queue.gather().await), [5, 3]);
    assert_eq!(rows(&queue.gather().await), [1]);
    assert_eq!(rows(&queue.gather().await), [4]);
    assert!(queue.waiting.is_empty());
}
