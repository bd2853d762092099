//! What stands at a sequence number.

use super::{Backlog, ENTRY_OVERHEAD_BYTES};

/// Why sequence numbers will never arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GapReason {
    /// Dropped unsent because the quota was full.
    Evicted,
    /// The store gave back damaged bytes or none.
    Corrupt,
    /// Dropped after it was sent and before its fate was known.
    FateUnknown,
    /// An earlier store had to be set aside; how much it held is not known.
    Quarantined,
}

impl GapReason {
    /// Every reason, in the order of [`Tally`].
    pub const ALL: [Self; 4] = [
        Self::Evicted,
        Self::Corrupt,
        Self::FateUnknown,
        Self::Quarantined,
    ];

    const fn index(self) -> usize {
        match self {
            Self::Evicted => 0,
            Self::Corrupt => 1,
            Self::FateUnknown => 2,
            Self::Quarantined => 3,
        }
    }
}

/// How long the windows of a record are at most; merging goes up one step at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resolution {
    /// As they were recorded, usually a minute.
    Recorded,
    /// Up to ten minutes.
    TenMinutes,
    /// Up to an hour.
    Hour,
    /// Up to a day. What does not fit then is dropped.
    Day,
}

impl Resolution {
    /// Every resolution, finest first.
    pub const ALL: [Self; 4] = [Self::Recorded, Self::TenMinutes, Self::Hour, Self::Day];

    /// The next coarser one; `None` when merging would hide what an operator still looks for.
    #[must_use]
    pub const fn coarser(self) -> Option<Self> {
        match self {
            Self::Recorded => Some(Self::TenMinutes),
            Self::TenMinutes => Some(Self::Hour),
            Self::Hour => Some(Self::Day),
            Self::Day => None,
        }
    }

    /// The longest window that merging makes.
    #[must_use]
    pub const fn window_ms_max(self) -> u64 {
        match self {
            Self::Recorded => 0,
            Self::TenMinutes => 600_000,
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
        }
    }
}

/// Names a block for ever: drawn at random, so that no later block can be taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(pub u64);

/// Records that lie together on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Which.
    pub id: BlockId,
    /// How many records it was sealed with.
    pub records: u32,
    /// Length of their payloads.
    pub payload_bytes: u64,
    /// What it takes on disk.
    pub disk_bytes: u64,
    /// How coarse its windows are.
    pub resolution: Resolution,
}

impl Block {
    pub(super) const fn cost_bytes(&self) -> u64 {
        self.disk_bytes + ENTRY_OVERHEAD_BYTES
    }
}

/// What stands at a sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A record in a row of its own.
    Record {
        /// Length of its payload.
        payload_bytes: u64,
    },
    /// All records of a block, none of them offered.
    Block(Block),
    /// One record of an opened block.
    Piece {
        /// The block it lies in.
        block: Block,
        /// Where in the block, from 0.
        index: u32,
        /// Length of its payload.
        payload_bytes: u64,
    },
    /// A declared loss.
    Gap(GapReason),
}

impl Content {
    /// The block it lies in.
    pub(super) const fn block(&self) -> Option<Block> {
        match *self {
            Self::Block(block) | Self::Piece { block, .. } => Some(block),
            Self::Record { .. } | Self::Gap(_) => None,
        }
    }
}

/// One stored entry; its first sequence number is its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Last sequence number covered.
    pub last: u64,
    /// What it is.
    pub content: Content,
}

impl Entry {
    /// What it costs apart from its block.
    pub(super) const fn own_cost_bytes(&self) -> u64 {
        match self.content {
            Content::Record { payload_bytes } => payload_bytes + ENTRY_OVERHEAD_BYTES,
            Content::Gap(_) => ENTRY_OVERHEAD_BYTES,
            Content::Block(_) | Content::Piece { .. } => 0,
        }
    }

    pub(super) fn weight(&self) -> Backlog {
        let (records, bytes) = match self.content {
            Content::Record { payload_bytes } => (1, payload_bytes + ENTRY_OVERHEAD_BYTES),
            Content::Block(block) => (u64::from(block.records), block.payload_bytes),
            Content::Piece { payload_bytes, .. } => (1, payload_bytes),
            Content::Gap(_) => (0, ENTRY_OVERHEAD_BYTES),
        };
        Backlog { records, bytes }
    }
}

/// Totals since the outbox was started, for people: what was lost and what became coarser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Sequence numbers declared lost, in the order of [`GapReason::ALL`].
    pub lost: [u64; 4],
    /// Records that are now part of a coarser one.
    pub merged: u64,
}

impl Tally {
    /// Sequence numbers declared lost for `reason`.
    #[must_use]
    pub const fn lost_for(&self, reason: GapReason) -> u64 {
        self.lost[reason.index()]
    }

    pub(super) const fn lost(mut self, reason: GapReason, numbers: u64) -> Self {
        self.lost[reason.index()] = self.lost[reason.index()].saturating_add(numbers);
        self
    }

    pub(super) const fn merged(mut self, records: u64) -> Self {
        self.merged = self.merged.saturating_add(records);
        self
    }
}
