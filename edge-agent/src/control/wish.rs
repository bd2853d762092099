//! Where the desired state comes from, and what the node works towards when it may not follow it.

use std::path::PathBuf;

use edge_core::desired::Desired;
use edge_core::hold::{Hold, freeze};
use edge_core::models::Observed;
use millwright_proto::Digest;
use millwright_proto::ids::Generation;
use tokio::sync::watch;

use crate::desired::{DesiredStore, Plan};
use crate::link::{LinkState, ReceivedDesired};

/// Where the desired state comes from.
pub enum Wish {
    /// From the cloud; kept in files between runs.
    Fleet {
        /// The files.
        store: DesiredStore,
        /// Received ones.
        received: watch::Receiver<Option<ReceivedDesired>>,
        /// Whether there is a session.
        link: watch::Receiver<LinkState>,
        /// The hold somebody at the box put on this node.
        hold: watch::Receiver<Option<Hold>>,
        /// Where the order of activations is kept.
        state: PathBuf,
    },
    /// From the command line, and from whoever sits at the box.
    Local(watch::Receiver<(Generation, Plan)>),
}

impl Wish {
    /// The hold in force.
    pub(super) fn hold(&self) -> Option<Hold> {
        match self {
            Self::Fleet { hold, .. } => hold.borrow().clone(),
            Self::Local(_) => None,
        }
    }

    /// Digest of the desired state in force.
    pub(super) fn digest(&self) -> Option<Digest> {
        match self {
            Self::Fleet { store, .. } => store.in_force().map(|current| current.digest),
            Self::Local(_) => None,
        }
    }

    /// What the node keeps instead of following `desired`: what it runs, while it is held, and while
    /// nobody knows what is desired (both files damaged), because a lost wish is not the wish for
    /// nothing. `None`: it follows.
    pub(super) fn kept(&self, desired: &Desired, observed: &Observed) -> Option<Desired> {
        let follows = match self {
            Self::Fleet { store, hold, .. } => {
                hold.borrow().is_none() && store.in_force().is_some()
            }
            Self::Local(_) => true,
        };
        (!follows).then(|| freeze(desired, observed))
    }
}
