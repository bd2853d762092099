//! One input on its way through a pipeline.

use bytes::Bytes;
use tokio::time::Instant;

use super::directory;
use super::message::Echo;
use super::mqtt::Ticket;

/// What a model is to see, as far as that is known without the model.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// A JPEG or PNG file.
    Picture(Bytes),
    /// Millwright's own JSON.
    Message(Bytes),
    /// The elements of one input; `None`: the model's only one.
    Elements(Option<String>, Bytes),
    /// Rows of sensor values, row after row.
    Rows(Vec<f64>),
    /// It cannot be read, and why.
    Unreadable(String),
}

/// One input.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) content: Content,
    pub(super) echo: Echo,
    /// When the last of it came.
    pub(super) received: Instant,
    pub(super) receipts: Receipts,
}

/// What became of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Its result is on the way.
    Answered,
    /// So is the news of its failure.
    Failed,
    /// It gave way.
    Dropped,
}

/// Whom to tell what became of an input. Dropped without being settled, it comes again.
#[derive(Debug)]
pub(super) enum Receipt {
    /// A broker waits for an acknowledgement.
    Mqtt(Ticket),
    /// A file lies there until then.
    File(directory::Found),
}

/// Everybody to tell.
#[derive(Debug, Default)]
pub(super) struct Receipts(Vec<Receipt>);

impl Receipts {
    /// Nobody, or one.
    pub(super) fn new(receipt: Option<Receipt>) -> Self {
        Self(receipt.into_iter().collect())
    }

    /// All of several.
    pub(super) fn all(several: Vec<Self>) -> Self {
        Self(
            several
                .into_iter()
                .flat_map(|receipts| receipts.0)
                .collect(),
        )
    }

    /// Whether somebody still waits, or nobody ever did. An input nobody waits for any more comes again.
    pub(super) fn are_current(&self) -> bool {
        self.0.is_empty()
            || self.0.iter().any(|receipt| match receipt {
                Receipt::Mqtt(ticket) => ticket.is_current(),
                Receipt::File(_) => true,
            })
    }

    /// Tells everybody.
    pub(super) async fn settle(self, fate: Fate) {
        for receipt in self.0 {
            match receipt {
                Receipt::Mqtt(ticket) => ticket.settle().await,
                Receipt::File(found) => found.settle(fate).await,
            }
        }
    }
}
