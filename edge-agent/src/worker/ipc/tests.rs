//! The lane with a worker that is played here: what a broken or hostile one can do, and requests that nobody waits for.

use edge_ipc::{ControlSocket, Region};
use millwright_package::ANSWER_WITHIN;

use super::*;
use crate::worker::protocol::{MESSAGE_AREA, REGION_BYTES, Run, SLOTS, encode_done};

const DEADLINE: Duration = Duration::from_secs(20);

/// The worker's end.
struct Played {
    socket: ControlSocket,
    board: Board,
    slots: Vec<Slot>,
}

fn lane() -> (Arc<Lane>, Played) {
    let here = Region::create(REGION_BYTES).unwrap();
    let there = Region::open(here.file().try_clone_to_owned().unwrap()).unwrap();
    let (ours, socket) = ControlSocket::pair().unwrap();
    let (board, slots) = here.into_parts(SLOTS).unwrap();
    let ours = AsyncControlSocket::new(ours).unwrap();
    let lane = Lane::new(
        "tiny@1.0.0".parse().unwrap(),
        ours,
        board,
        slots,
        ANSWER_WITHIN,
    );
    let watching = Arc::clone(&lane);
    tokio::spawn(async move { watching.watch_socket().await });
    let (board, slots) = there.into_parts(SLOTS).unwrap();
    (
        lane,
        Played {
            socket,
            board,
            slots,
        },
    )
}

impl Played {
    /// Answers request `number` with `message`, as a worker would.
    fn answer(&mut self, number: u32, message: &[u8]) {
        let slot = self.board.slot_of(number) as usize;
        self.slots[slot].write(0, message).unwrap();
        self.ring(number + 1);
    }

    fn ring(&self, count: u32) {
        if self.board.answers.ring(count) {
            self.socket.send(NUDGE).unwrap();
        }
    }

    fn id(&self, number: u32) -> u64 {
        let slot = &self.slots[self.board.slot_of(number) as usize];
        let (mut length, mut run, mut message) = ([0; 4], Run::default(), Vec::new());
        slot.read(0, &mut length).unwrap();
        slot.append_to(4, u32::from_le_bytes(length).into(), &mut message)
            .unwrap();
        run.decode(&message).unwrap();
        run.id
    }
}

async fn submitted(lane: &Arc<Lane>) -> Pending {
    let mut lease = lane.lease().await.unwrap();
    lease.write_run(&mut Run::default()).unwrap();
    lane.submit(lease).unwrap()
}

async fn ended(lane: &Lane) {
    let gone = async {
        while !lane.has_ended() {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(DEADLINE, gone).await.unwrap();
}

fn done(id: u64) -> Vec<u8> {
    let mut message = Vec::new();
    encode_done(id, 1, &[], &mut message).unwrap();
    message
}

#[tokio::test]
async fn answers_come_to_their_requests_on_threads_and_in_tasks() {
    let (lane, mut worker) = lane();
    let (first, second) = (submitted(&lane).await, submitted(&lane).await);
    let thread = std::thread::spawn(move || first.answered_blocking().unwrap());
    let task = tokio::spawn(second.answered());
    for number in [0, 1] {
        let message = done(worker.id(number));
        worker.answer(number, &message);
    }
    let mut leases = [task.await.unwrap().unwrap(), thread.join().unwrap()];
    for lease in &mut leases {
        lane.read_reply(lease, &mut Vec::new()).unwrap();
    }
}

#[tokio::test]
async fn a_worker_that_claims_answers_to_requests_nobody_made_is_ended() {
    let (lane, worker) = lane();
    let pending = submitted(&lane).await;
    worker.ring(2);
    assert_eq!(
        pending.answered().await.map(|_| ()).unwrap_err(),
        lane.gone()
    );
    assert!(worker.board.is_closed());
    ended(&lane).await;
    assert!(lane.lease().await.is_err());
}

#[tokio::test]
async fn replies_that_are_none_end_the_worker_and_never_reach_outside_the_slot() {
    let too_long = (MESSAGE_AREA as u32).to_le_bytes().to_vec();
    let longest = u32::MAX.to_le_bytes().to_vec();
    for message in [done(99), too_long, longest, vec![3, 0, 0, 0, 255, 255, 255]] {
        let (lane, mut worker) = lane();
        let pending = submitted(&lane).await;
        worker.answer(0, &message);
        let mut lease = pending.answered().await.unwrap();
        let error = lane.read_reply(&mut lease, &mut Vec::new()).unwrap_err();
        assert!(matches!(error, InferError::Failed { .. }), "{error}");
        assert!(worker.board.is_closed());
    }
}

#[tokio::test]
async fn nudges_without_requests_end_the_worker() {
    let (lane, worker) = lane();
    worker.socket.send(NUDGE).unwrap();
    ended(&lane).await;
    let (lane, worker) = self::lane();
    worker.socket.send(b"something else").unwrap();
    ended(&lane).await;
}

#[tokio::test]
async fn a_request_that_its_client_gave_up_keeps_its_slot_until_it_is_answered() {
    let (lane, mut worker) = lane();
    for _ in 0..SLOTS {
        drop(submitted(&lane).await);
    }
    assert_eq!(lane.free.available_permits(), 0);
    let message = done(worker.id(0));
    worker.answer(0, &message);
    let lease = tokio::time::timeout(DEADLINE, lane.lease())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(lease.number(), worker.board.slot_of(0));
    assert_eq!(lane.free.available_permits(), 0);
}

#[tokio::test]
async fn everybody_who_waits_is_told_when_the_worker_is_gone() {
    let (lane, worker) = lane();
    let (first, second) = (submitted(&lane).await, submitted(&lane).await);
    let thread = tokio::task::spawn_blocking(move || first.answered_blocking().map(|_| ()));
    let task = tokio::spawn(second.answered());
    drop(worker);
    for result in [thread.await.unwrap(), task.await.unwrap().map(|_| ())] {
        assert_eq!(result.unwrap_err(), lane.gone());
    }
}
