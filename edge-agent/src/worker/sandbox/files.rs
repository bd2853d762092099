//! Which files a worker may reach: Landlock.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::{Bounds, Reach};

/// The rules that are asked for, where the kernel has them. Its first version already governs every way to
/// read and write a file; what came later (moving, truncating, devices, TCP, signals) has no system call
/// left in the filter either, so an older kernel leaves nothing open.
const RULES: ABI = ABI::V6;

/// What ONNX Runtime asks about the machine when it makes its thread pools.
const FACTS: [&str; 3] = ["/sys/devices/system/cpu", "/proc/cpuinfo", "/proc/meminfo"];

/// Where drivers of devices, the libraries beside them and their settings lie.
const DRIVERS: [&str; 10] = [
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local",
    "/usr/share",
    "/opt",
    "/etc",
    "/proc",
    "/sys",
];

/// Where the devices themselves are.
const DEVICES: [&str; 1] = ["/dev"];

/// Leaves what `bounds` says readable, for this thread and all that it starts. The error is what the kernel
/// cannot do, for people.
pub(super) fn restrict(bounds: &Bounds<'_>) -> Result<(), String> {
    // Counted before: afterwards the directory is out of reach.
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    let restricted = ruleset(bounds).and_then(RulesetCreated::restrict_self);
    let status = restricted.map_err(|error| error.to_string())?;
    match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, LandlockStatus::NotEnabled) => {
            Err("the kernel has Landlock, and it is not among the security modules it was started with (lsm=)".to_owned())
        }
        (RulesetStatus::NotEnforced, _) => {
            Err("the kernel was built without Landlock, or is older than 5.13".to_owned())
        }
        (RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced, _) if threads > 1 => {
            Err(format!("{threads} threads ran already and are not confined"))
        }
        (RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced, _) => Ok(()),
    }
}

fn ruleset(bounds: &Bounds<'_>) -> Result<RulesetCreated, RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(RULES))?
        .handle_access(AccessNet::from_all(RULES))?
        .scope(Scope::from_all(RULES))?
        .create()?;
    rules = allow(rules, [bounds.directory], read)?;
    rules = allow(rules, [bounds.model], AccessFs::ReadFile.into())?;
    rules = allow(rules, FACTS.map(Path::new), read)?;
    if bounds.reach == Reach::Device {
        rules = allow(rules, bounds.library.parent(), read)?;
        rules = allow(rules, DRIVERS.map(Path::new), read)?;
        let use_device = read | AccessFs::WriteFile | AccessFs::IoctlDev;
        rules = allow(rules, DEVICES.map(Path::new), use_device)?;
    }
    Ok(rules)
}

/// Allows `access` below each of `paths` that is there.
fn allow<'a>(
    rules: RulesetCreated,
    paths: impl IntoIterator<Item = &'a Path>,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let found = paths.into_iter().filter_map(|path| {
        let access = if path.is_dir() {
            access
        } else {
            access & AccessFs::from_file(RULES)
        };
        Some((PathFd::new(path).ok()?, access))
    });
    rules.add_rules(
        found.map(|(path, access)| Ok::<_, RulesetError>(PathBeneath::new(path, access))),
    )
}
