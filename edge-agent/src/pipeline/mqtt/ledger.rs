//! Which messages are done, so that acknowledgements leave in the order in which messages came.
//!
//! MQTT asks for that order (3.1.1, section 4.6), and inputs are not done in it: one gives way to a newer one, another
//! waits for values of other topics.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use rumqttc::{AsyncClient, Publish};
use tokio::sync::Mutex;

use super::Delivery;

/// Knows every message that is not acknowledged. A cheap handle.
#[derive(Clone, Debug)]
pub(in crate::pipeline) struct Ledger {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: AsyncClient,
    /// Number of the connection that is open.
    current: Arc<AtomicU64>,
    /// Held while acknowledgements are handed to the connection, so that two do not overtake each other.
    book: Mutex<Book>,
}

/// One message; tells the broker that it is done.
#[derive(Debug)]
pub(in crate::pipeline) struct Ticket {
    ledger: Ledger,
    connection: u64,
    number: u64,
}

/// The decision, without the sending.
#[derive(Debug, Default)]
struct Book {
    connection: u64,
    /// Number of the first message in `open`.
    first: u64,
    /// Messages in the order in which they came, and whether they are done.
    open: VecDeque<(Publish, bool)>,
}

impl Ledger {
    pub(in crate::pipeline) fn new(client: AsyncClient, current: Arc<AtomicU64>) -> Self {
        Self {
            shared: Arc::new(Shared {
                client,
                current,
                book: Mutex::default(),
            }),
        }
    }

    /// Enters a message that came.
    pub(super) async fn enter(&self, delivery: &Delivery) -> Ticket {
        // The payload is the input's; only its packet number is needed here.
        let message = Publish {
            payload: Bytes::new(),
            ..delivery.message.clone()
        };
        let number = self
            .shared
            .book
            .lock()
            .await
            .enter(message, delivery.connection);
        Ticket {
            ledger: self.clone(),
            connection: delivery.connection,
            number,
        }
    }

    fn current(&self) -> u64 {
        self.shared.current.load(Ordering::Acquire)
    }
}

impl Ticket {
    /// Whether the message's connection is still the open one. If not, the message comes again.
    pub(in crate::pipeline) fn is_current(&self) -> bool {
        self.ledger.current() == self.connection
    }

    /// The message is done.
    pub(in crate::pipeline) async fn settle(self) {
        let mut book = self.ledger.shared.book.lock().await;
        for message in book.settle(self.connection, self.number) {
            if !self.is_current() {
                return;
            }
            if self.ledger.shared.client.ack(&message).await.is_err() {
                // The connection task is gone: the agent ends.
                return;
            }
        }
    }
}

impl Book {
    fn enter(&mut self, message: Publish, connection: u64) -> u64 {
        if self.connection != connection {
            // Messages of the connection before come again under new numbers.
            self.connection = connection;
            self.first += self.open.len() as u64;
            self.open.clear();
        }
        self.open.push_back((message, false));
        self.first + self.open.len() as u64 - 1
    }

    /// Messages that may be acknowledged now.
    fn settle(&mut self, connection: u64, number: u64) -> Vec<Publish> {
        let at = number.checked_sub(self.first);
        let at = at.and_then(|at| usize::try_from(at).ok());
        if connection == self.connection
            && let Some((_, done)) = at.and_then(|at| self.open.get_mut(at))
        {
            *done = true;
        }
        let ready = self.open.iter().take_while(|(_, done)| *done).count();
        self.first += ready as u64;
        self.open
            .drain(..ready)
            .map(|(message, _)| message)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use rumqttc::QoS;

    use super::*;

    fn message(pkid: u16) -> Publish {
        let mut message = Publish::new("t", QoS::AtLeastOnce, []);
        message.pkid = pkid;
        message
    }

    fn pkids(messages: Vec<Publish>) -> Vec<u16> {
        messages.iter().map(|message| message.pkid).collect()
    }

    #[test]
    fn acknowledgements_leave_in_the_order_in_which_messages_came() {
        let mut book = Book::default();
        let numbers: Vec<u64> = (1..=4).map(|pkid| book.enter(message(pkid), 7)).collect();
        assert_eq!(pkids(book.settle(7, numbers[1])), [] as [u16; 0]);
        assert_eq!(pkids(book.settle(7, numbers[0])), [1, 2]);
        assert_eq!(pkids(book.settle(7, numbers[3])), [] as [u16; 0]);
        assert_eq!(pkids(book.settle(7, numbers[2])), [3, 4]);
    }

    #[test]
    fn a_message_of_an_older_connection_acknowledges_nothing() {
        let mut book = Book::default();
        let old = book.enter(message(1), 7);
        let new = book.enter(message(1), 8);
        assert_eq!(pkids(book.settle(7, old)), [] as [u16; 0]);
        assert_eq!(pkids(book.settle(8, new)), [1]);
    }
}
