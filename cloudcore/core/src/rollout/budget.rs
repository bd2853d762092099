//! How many nodes may be changing at once.
//!
//! A node is *changing* from the moment its desired state names the new version until its gates pass.
//! A node that goes silent in between keeps its place: nobody knows whether it is unavailable.

use std::num::NonZeroU32;

/// The disruption budget of one deployment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Budget {
    /// Every node of a wave may change at once. The default: a node swaps versions without refusing
    /// a request, so the waves alone decide the pace.
    #[default]
    WholeWave,
    /// At most this many.
    AtMost(NonZeroU32),
}

impl Budget {
    /// How many more nodes may begin to change while `changing` do.
    #[must_use]
    pub fn left(self, changing: usize) -> usize {
        match self {
            Self::WholeWave => usize::MAX,
            Self::AtMost(most) => usize::try_from(most.get())
                .unwrap_or(usize::MAX)
                .saturating_sub(changing),
        }
    }
}
