//! Wrong decisions that can be put in on purpose, at the simulation's own seams, to see that the
//! invariants notice them. The cores are never touched.

/// A deliberately wrong decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bug {
    /// Everything is right.
    #[default]
    None,
    /// The cloud counts what is at or below the watermark again.
    DuplicateCounted,
    /// The cloud's watermark is durable before what it counts.
    WatermarkBeforeCommit,
    /// The cloud acknowledges before it commits.
    AckBeforeCommit,
    /// The device sends without persisting how far it offered.
    OfferedNotPersisted,
    /// The device forgets what it evicts instead of declaring it.
    GapNotDeclared,
    /// The device takes any desired state over, also an older one.
    GenerationUnchecked,
    /// The planner does not hold for nodes that are ahead of a restored cloud.
    HoldIgnored,
    /// The planner takes a silent node's word as given.
    SilenceIsSuccess,
    /// The device ends the old worker before the new one answers.
    OldWorkerEndedFirst,
    /// The device switches to a worker whose golden set has not passed.
    GoldenIgnored,
    /// The cloud accepts any session secret.
    SecretUnchecked,
    /// The planner admits every node of a wave at once.
    BudgetIgnored,
}

impl Bug {
    /// All of them, by name.
    pub const ALL: [(&'static str, Self); 12] = [
        ("duplicate-counted", Self::DuplicateCounted),
        ("watermark-before-commit", Self::WatermarkBeforeCommit),
        ("ack-before-commit", Self::AckBeforeCommit),
        ("offered-not-persisted", Self::OfferedNotPersisted),
        ("gap-not-declared", Self::GapNotDeclared),
        ("generation-unchecked", Self::GenerationUnchecked),
        ("hold-ignored", Self::HoldIgnored),
        ("silence-is-success", Self::SilenceIsSuccess),
        ("old-worker-ended-first", Self::OldWorkerEndedFirst),
        ("golden-ignored", Self::GoldenIgnored),
        ("secret-unchecked", Self::SecretUnchecked),
        ("budget-ignored", Self::BudgetIgnored),
    ];
}
