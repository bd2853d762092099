//! What a session learns and does: the watermarks of a Welcome, what to offer next, acknowledgements.

use std::collections::BTreeMap;

use thiserror::Error;

use super::{ACKNOWLEDGED_TAIL, Change, Content, Entry, GapReason, Head, Ledger, Stream, gap};

/// How far the current session has sent each stream. Lives and ends with the session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor(BTreeMap<Stream, u64>);

impl Cursor {
    pub(super) fn sent(&self, stream: Stream) -> u64 {
        self.0.get(&stream).copied().unwrap_or(0)
    }
}

/// What to send next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The stream.
    pub stream: Stream,
    /// The key of the entry; below `first` when the front of a gap was sent before.
    pub key: u64,
    /// First sequence number to send.
    pub first: u64,
    /// Last sequence number to send.
    pub last: u64,
    /// Record or gap.
    pub content: Content,
}

/// How much a session may have on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Records and gaps.
    pub records: usize,
    /// Bytes of payload; the first record is offered even when it is larger.
    pub bytes: u64,
}

/// Why an acknowledgement was refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SettleError {
    /// The cloud acknowledged what was never sent.
    #[error(
        "cloudcore acknowledged {stream} up to {through}, but only {offered_up_to} was offered"
    )]
    NeverOffered {
        /// The stream.
        stream: Stream,
        /// What was acknowledged.
        through: u64,
        /// What was sent.
        offered_up_to: u64,
    },
}

impl Ledger {
    /// Settles the fate of everything offered: the cloud counted `through` and nothing above.
    ///
    /// A watermark below what was acknowledged means that the cloud was restored: the tail is offered
    /// again, and what the tail lacks is declared. A watermark above what was offered means that
    /// *this* store went back in time: its unsent records carry numbers that the cloud has counted
    /// for others, so they move to fresh numbers.
    #[must_use]
    pub fn welcome(&self, stream: Stream, through: u64) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut head = self.head(stream);
        if through > head.offered_up_to {
            changes.extend(self.renumber(stream, through, &mut head));
        } else {
            let oldest = self.oldest(stream);
            if through < head.acknowledged && through + 1 < oldest {
                changes.push(gap(stream, through + 1, oldest - 1, GapReason::Evicted));
                let numbers = oldest - 1 - through;
                changes.push(Change::Tally(
                    self.tally().lost(GapReason::Evicted, numbers),
                ));
            }
            changes.extend(self.trim(stream, through));
        }
        // Nothing above the watermark is counted, so all of it may be evicted as unsent again.
        head.offered_up_to = through;
        head.acknowledged = through;
        changes.push(Change::Head { stream, head });
        changes
    }

    /// Moves the unsent entries at or below `through` behind everything else.
    fn renumber(&self, stream: Stream, through: u64, head: &mut Head) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut next = head.next.max(through + 1);
        let mut opened_from = None;
        for (first, entry) in self.entries(stream) {
            if first > through {
                break;
            }
            let content = match entry.content {
                // The rest of its block stays behind, so it becomes a record of its own.
                Content::Piece { payload_bytes, .. } => {
                    opened_from = opened_from.or(Some(first));
                    Content::Record { payload_bytes }
                }
                content @ (Content::Record { .. } | Content::Block(_) | Content::Gap(_)) => content,
            };
            let mut from = first;
            let mut moved = content;
            if first <= head.offered_up_to {
                changes.push(Change::Drop { stream, first });
                // What was offered of it is settled. Only a gap goes on behind that (see `trim`): damage to a record that
                // was never sent had joined it.
                from = head.offered_up_to + 1;
                moved = Content::Gap(reason_of(content));
            }
            if from <= entry.last {
                let last = next + (entry.last - from);
                changes.push(Change::Move {
                    stream,
                    from,
                    first: next,
                    entry: Entry {
                        last,
                        content: moved,
                    },
                });
                next = last + 1;
            }
            if entry.last > through {
                changes.push(gap(stream, through + 1, entry.last, GapReason::FateUnknown));
            }
        }
        if let Some(first) = opened_from {
            // A block is read whole after a restart: the gap hides those of its records that moved away.
            changes.push(gap(stream, first, through, GapReason::FateUnknown));
        }
        head.next = next;
        changes
    }

    /// Takes an acknowledgement; a repeated one changes nothing.
    ///
    /// # Errors
    /// When the cloud acknowledges what was never offered.
    pub fn acknowledge(&self, stream: Stream, through: u64) -> Result<Vec<Change>, SettleError> {
        let head = self.head(stream);
        if through > head.offered_up_to {
            return Err(SettleError::NeverOffered {
                stream,
                through,
                offered_up_to: head.offered_up_to,
            });
        }
        if through <= head.acknowledged {
            return Ok(Vec::new());
        }
        let mut changes = self.trim(stream, through);
        changes.push(Change::Head {
            stream,
            head: Head {
                acknowledged: through,
                ..head
            },
        });
        Ok(changes)
    }

    /// Keeps the youngest [`ACKNOWLEDGED_TAIL`] entries at or below `through` and cuts an entry that
    /// straddles it.
    fn trim(&self, stream: Stream, through: u64) -> Vec<Change> {
        let settled = |(_, entry): &(u64, &Entry)| entry.last <= through;
        let count = self.entries(stream).take_while(settled).count();
        let mut changes: Vec<Change> = self
            .entries(stream)
            .take(count.saturating_sub(ACKNOWLEDGED_TAIL))
            .map(|(first, _)| Change::Drop { stream, first })
            .collect();
        if let Some((first, entry)) = self.entries(stream).nth(count)
            && first <= through
        {
            // Only a gap can straddle: it grew after its front was sent. A record that straddles would
            // mean that the cloud counted half of it, so the rest can only be declared.
            let reason = reason_of(entry.content);
            changes.push(gap(stream, first, through, reason));
            changes.push(gap(stream, through + 1, entry.last, reason));
        }
        changes
    }

    /// The cursor of a session that was just welcomed.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        let acknowledged = |stream| (stream, self.head(stream).acknowledged);
        Cursor(Stream::ALL.into_iter().map(acknowledged).collect())
    }

    /// What to send next within `room` up to the next block (see [`Ledger::to_open`]), the changes that must be durable before any of it is sent,
    /// and the cursor after it.
    #[must_use]
    pub fn offer(&self, cursor: &Cursor, room: Room) -> (Vec<Offer>, Vec<Change>, Cursor) {
        let mut offers = Vec::new();
        let mut changes = Vec::new();
        let mut after = cursor.clone();
        let mut bytes_left = room.bytes;
        for stream in Stream::ALL {
            let sent = cursor.sent(stream);
            let mut up_to = sent;
            // A gap may have grown after its front was sent, so one entry may begin before.
            let entries = &self.track(stream).entries;
            let straddling = entries.range(..=sent).next_back();
            for (&key, entry) in straddling.into_iter().chain(entries.range(sent + 1..)) {
                if entry.last <= sent {
                    continue;
                }
                let payload_bytes = match entry.content {
                    Content::Record { payload_bytes } | Content::Piece { payload_bytes, .. } => {
                        payload_bytes
                    }
                    Content::Gap(_) => 0,
                    Content::Block(_) => break,
                };
                let fits = payload_bytes <= bytes_left || offers.is_empty();
                if offers.len() >= room.records || !fits {
                    break;
                }
                bytes_left = bytes_left.saturating_sub(payload_bytes);
                up_to = entry.last;
                offers.push(Offer {
                    stream,
                    key,
                    first: key.max(sent + 1),
                    last: entry.last,
                    content: entry.content,
                });
            }
            after.0.insert(stream, up_to);
            let head = self.head(stream);
            if up_to > head.offered_up_to {
                changes.push(Change::Head {
                    stream,
                    head: Head {
                        offered_up_to: up_to,
                        ..head
                    },
                });
            }
        }
        (offers, changes, after)
    }
}

/// As what a part of an entry is declared.
const fn reason_of(content: Content) -> GapReason {
    match content {
        Content::Gap(reason) => reason,
        Content::Record { .. } | Content::Piece { .. } | Content::Block(_) => {
            GapReason::FateUnknown
        }
    }
}
