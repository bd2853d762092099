//! Whether another worker fits into the memory that all workers together may use.
//!
//! Each worker is counted with what its manifest declares, or with what it has where that is more or
//! nothing is declared: a declared limit is enforced, so what fits by it fits whatever requests come.

use std::fmt;

/// One worker, running or about to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What its manifest says it may use.
    pub declared_bytes: Option<u64>,
    /// What it has, or is expected to need.
    pub measured_bytes: u64,
}

impl Claim {
    /// What has to be kept free for it.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.declared_bytes
            .unwrap_or(self.measured_bytes)
            .max(self.measured_bytes)
    }
}

/// A worker does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// What it needs.
    pub needed_bytes: u64,
    /// What the others have.
    pub held_bytes: u64,
    /// What all may use.
    pub budget_bytes: u64,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes.div_ceil(1024 * 1024);
        write!(
            f,
            "it needs {} MiB, the other workers hold {} of the {} MiB that workers may use (worker.memoryMib of edge-agent.yaml)",
            mib(self.needed_bytes),
            mib(self.held_bytes),
            mib(self.budget_bytes)
        )
    }
}

/// Whether `new` fits beside `others`.
///
/// # Errors
/// [`Shortage`] with the numbers.
pub fn admit(
    budget_bytes: u64,
    others: impl IntoIterator<Item = Claim>,
    new: Claim,
) -> Result<(), Shortage> {
    let held_bytes = others
        .into_iter()
        .fold(0_u64, |sum, claim| sum.saturating_add(claim.bytes()));
    let needed_bytes = new.bytes();
    if held_bytes.saturating_add(needed_bytes) <= budget_bytes {
        return Ok(());
    }
    Err(Shortage {
        needed_bytes,
        held_bytes,
        budget_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn claim(declared: Option<u64>, measured: u64) -> Claim {
        Claim {
            declared_bytes: declared.map(|mib| mib * MIB),
            measured_bytes: measured * MIB,
        }
    }

    #[test]
    fn what_is_declared_is_kept_free_and_what_is_measured_counts_where_it_is_more() {
        let admitted =
            |others: &[Claim], new| admit(512 * MIB, others.iter().copied(), new).is_ok();
        assert!(admitted(&[], claim(Some(512), 0)));
        assert!(!admitted(&[], claim(Some(513), 0)));
        assert!(admitted(&[claim(None, 256)], claim(Some(256), 0)));
        assert!(!admitted(&[claim(Some(300), 10)], claim(Some(256), 0)));
        assert!(!admitted(&[claim(Some(100), 300)], claim(Some(256), 0)));
        assert!(!admitted(
            &[claim(None, u64::MAX / MIB)],
            claim(None, u64::MAX / MIB)
        ));
    }

    #[test]
    fn a_shortage_names_the_numbers_and_the_setting() {
        let shortage = admit(512 * MIB, [claim(Some(400), 60)], claim(None, 200)).unwrap_err();
        let text = shortage.to_string();
        for word in ["200 MiB", "400 of the 512 MiB", "worker.memoryMib"] {
            assert!(text.contains(word), "{text}");
        }
    }
}
