//! The short form: seeds from 0 on, the same seed twice, and wrong decisions that must be found.

use millwright_simulation::{Bug, Options, Printing, run};

/// Simulated days of the short form: long enough for a restore, a partition of days, several rollouts.
const DAYS: u64 = 4;

/// Seeds of the short form.
const SEEDS: u64 = 12;

/// Seeds within which a wrong decision must be found.
const FOUND_WITHIN: u64 = 40;

fn options(seed: u64, bug: Bug) -> Options {
    Options {
        seed,
        days: DAYS,
        devices: None,
        bug,
        printing: Printing::Quiet,
    }
}

#[test]
fn every_invariant_holds_through_days_of_faults() {
    for seed in 0..SEEDS {
        if let Err(failed) = run(options(seed, Bug::None)) {
            panic!(
                "cargo run -p millwright-simulation -- replay --seed {seed} --days {DAYS} --trace\n{failed:#?}"
            );
        }
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    let first = run(options(3, Bug::None)).map(|passed| (passed.hash, passed.events));
    let again = run(options(3, Bug::None)).map(|passed| (passed.hash, passed.events));
    let other = run(options(4, Bug::None)).map(|passed| (passed.hash, passed.events));
    assert_eq!(first, again);
    assert_ne!(first, other);
}

/// The first seed that finds `bug`.
fn found(bug: Bug) -> Option<u64> {
    (0..FOUND_WITHIN).find(|seed| run(options(*seed, bug)).is_err())
}

macro_rules! is_found {
    ($($test:ident: $bug:ident,)*) => {
        $(#[test]
        fn $test() {
            assert!(found(Bug::$bug).is_some(), "no seed finds it");
        })*
    };
}

is_found! {
    a_watermark_before_its_commit_is_found: WatermarkBeforeCommit,
    an_offer_that_is_not_persisted_is_found: OfferedNotPersisted,
    a_loss_that_is_not_declared_is_found: GapNotDeclared,
    a_restore_that_holds_nobody_is_found: HoldIgnored,
    silence_taken_for_success_is_found: SilenceIsSuccess,
    an_old_worker_ended_first_is_found: OldWorkerEndedFirst,
    a_golden_set_that_is_ignored_is_found: GoldenIgnored,
    a_secret_that_is_not_judged_is_found: SecretUnchecked,
    a_budget_that_is_ignored_is_found: BudgetIgnored,
}
