//! Where inputs wait for the model: bounded, with a say in what gives way.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millwright_pipeline::Policy;
use tokio::sync::Notify;
use tokio::time::Instant;

/// What became of an item that was offered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Offer<T> {
    /// It waits.
    Taken,
    /// It waits, and this older one does not any more; or it is this one and does not.
    Dropped(T),
    /// There is no room, and nothing may be dropped.
    Full(T),
}

/// The decision, without the waiting.
#[derive(Debug)]
struct Backlog<T> {
    items: VecDeque<T>,
    capacity: usize,
    policy: Policy,
    every: Duration,
    /// With `sample`: nothing is taken before.
    not_before: Option<Instant>,
}

impl<T> Backlog<T> {
    fn offer(&mut self, item: T, now: Instant) -> Offer<T> {
        if self.policy == Policy::Sample {
            if self.not_before.is_some_and(|at| now < at) {
                return Offer::Dropped(item);
            }
            self.not_before = Some(now + self.every);
        }
        if self.items.len() < self.capacity {
            self.items.push_back(item);
            return Offer::Taken;
        }
        match self.policy {
            Policy::Block => Offer::Full(item),
            Policy::DropOldest | Policy::Sample => {
                let oldest = self.items.pop_front();
                self.items.push_back(item);
                oldest.map_or(Offer::Taken, Offer::Dropped)
            }
        }
    }
}

/// A queue with one taker. A cheap handle.
#[derive(Debug)]
pub(super) struct Queue<T> {
    shared: Arc<Shared<T>>,
}

#[derive(Debug)]
struct Shared<T> {
    /// Held for one operation.
    backlog: Mutex<Backlog<T>>,
    filled: Notify,
    freed: Notify,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T> Queue<T> {
    /// Nothing waits.
    pub(super) fn new(policy: Policy, capacity: u32, every: Duration) -> Self {
        Self {
            shared: Arc::new(Shared {
                backlog: Mutex::new(Backlog {
                    items: VecDeque::new(),
                    capacity: usize::try_from(capacity).unwrap_or(1).max(1),
                    policy,
                    every,
                    not_before: None,
                }),
                filled: Notify::new(),
                freed: Notify::new(),
            }),
        }
    }

    /// Offers an item without waiting.
    pub(super) fn offer(&self, item: T) -> Offer<T> {
        let offer = self.backlog().offer(item, Instant::now());
        if !matches!(offer, Offer::Full(_)) {
            self.shared.filled.notify_one();
        }
        offer
    }

    /// Offers an item, waiting for room where nothing may be dropped. Returns the item that gave way.
    pub(super) async fn put(&self, mut item: T) -> Option<T> {
        loop {
            let freed = self.shared.freed.notified();
            match self.offer(item) {
                Offer::Taken => return None,
                Offer::Dropped(dropped) => return Some(dropped),
                Offer::Full(refused) => item = refused,
            }
            freed.await;
        }
    }

    /// Waits for the oldest item.
    pub(super) async fn take(&self) -> T {
        loop {
            let filled = self.shared.filled.notified();
            if let Some(item) = self.backlog().items.pop_front() {
                self.shared.freed.notify_one();
                return item;
            }
            filled.await;
        }
    }

    fn backlog(&self) -> MutexGuard<'_, Backlog<T>> {
        // Nothing panics while it is held.
        self.shared
            .backlog
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn queue(policy: Policy) -> Queue<u32> {
        Queue::new(policy, 2, Duration::from_millis(100))
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_gives_way() {
        let queue = queue(Policy::DropOldest);
        let gone: Vec<_> = [queue.put(1).await, queue.put(2).await, queue.put(3).await].into();
        assert_eq!(gone, [None, None, Some(1)]);
        assert_eq!([queue.take().await, queue.take().await], [2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_input_per_time_is_taken() {
        let queue = queue(Policy::Sample);
        assert_eq!(queue.put(1).await, None);
        assert_eq!(queue.put(2).await, Some(2));
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!(queue.put(3).await, None);
        assert_eq!([queue.take().await, queue.take().await], [1, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_is_held_back_until_there_is_room() {
        let queue = queue(Policy::Block);
        queue.put(1).await;
        queue.put(2).await;
        assert_eq!(queue.offer(3), Offer::Full(3));
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { queue.put(3).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        assert_eq!(queue.take().await, 1);
        assert_eq!(waiting.await.unwrap(), None);
        assert_eq!([queue.take().await, queue.take().await], [2, 3]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_doubled_and_order_is_kept(
            steps in prop::collection::vec(prop::option::weighted(0.6, Just(())), 0..200),
            capacity in 1..6_u32,
            sample in any::<bool>(),
        ) {
            let policy = if sample { Policy::Sample } else { Policy::DropOldest };
            let mut backlog = Backlog {
                items: VecDeque::new(),
                capacity: capacity as usize,
                policy,
                every: Duration::from_millis(3),
                not_before: None,
            };
            let begin = Instant::now();
            let (mut taken, mut gone) = (Vec::new(), Vec::new());
            let mut offered = 0_usize;
            for (step, offer) in steps.iter().enumerate() {
                match offer {
                    Some(()) => {
                        let now = begin + Duration::from_millis(step as u64);
                        if let Offer::Dropped(item) = backlog.offer(offered, now) {
                            gone.push(item);
                        }
                        offered += 1;
                    }
                    None => taken.extend(backlog.items.pop_front()),
                }
                prop_assert!(backlog.items.len() <= capacity as usize);
            }
            taken.extend(backlog.items);
            prop_assert!(taken.is_sorted());
            taken.extend(gone);
            taken.sort_unstable();
            prop_assert_eq!(taken, (0..offered).collect::<Vec<_>>());
        }
    }
}
