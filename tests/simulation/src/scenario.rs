//! What a seed stands for: the fleet, the operator's script and the faults, all drawn up front.
//!
//! Faults are known in advance so that the world can skip quickly through the hours in which nothing
//! can happen. They end with the last day; what follows is the quiet time in which everything must converge.

use std::num::NonZeroU64;

use edge_core::models::PackageId;
use fleet_core::rollout::budget::Budget;
use millwright_proto::Digest;

use crate::event::{DAY, Device, HOUR, MINUTE, Ms};
use crate::random::Random;

/// Most sites of a fleet.
const SITES_MAX: u64 = 5;

/// How a version behaves on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quality {
    /// It works.
    Good,
    /// Its golden outputs are outside their tolerance.
    FailsGolden,
    /// Its worker dies before the golden set is through.
    CrashesEarly,
    /// Its worker dies again and again once it answers requests.
    CrashesLate,
}

impl Quality {
    /// Whether it can never become active on a device.
    #[must_use]
    pub(crate) fn never_active(self) -> bool {
        matches!(self, Self::FailsGolden | Self::CrashesEarly)
    }
}

/// One version that can be deployed; its place in the catalog is its number.
#[derive(Clone, Debug)]
pub(crate) struct Release {
    /// As both cores name it.
    pub package: PackageId,
    /// How it behaves.
    pub quality: Quality,
}

/// One change by the operator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Intent {
    /// When.
    pub at: Ms,
    /// Which model's deployment.
    pub model: usize,
    /// Number of the release it names from then on.
    pub release: usize,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No packet of the device gets through.
    Partition(Device),
    /// No packet of the site gets through.
    SitePartition(u64),
    /// No datagram of the device gets through.
    NoUdp(Device),
    /// The device's connection breaks; what was on its way may arrive late or not at all.
    Drop(Device),
    /// The device sends what it sends next once more, before it can be acknowledged.
    SendAgain(Device),
    /// The agent is killed at its n-th durable step or send from now.
    Kill(Device, u32),
    /// The device has no power.
    PowerCut(Device),
    /// The device has no power, and its outbox store cannot be read afterwards.
    Quarantine(Device),
    /// The device has no power, and some rows of its store are damaged afterwards.
    Corrupt(Device, u32),
    /// The device has no power, and its disk lied: the last writes of the outbox are gone.
    Lied(Device),
    /// The device's wall clock jumps.
    ClockJump(Device),
    /// A worker of the device dies, whatever it holds.
    WorkerCrash(Device),
    /// The cloud dies at its n-th commit from now: before it when even, between it and its answer when odd.
    CloudCrash(u32),
    /// An older backup takes the cloud's place.
    Restore,
    /// A copy of the device's disk runs elsewhere.
    Clone(Device),
    /// The operator ends the device's rights.
    Revoke(Device),
}

impl Fault {
    /// The device it is about; `None` when it is about more.
    #[must_use]
    pub(crate) fn device(self) -> Option<Device> {
        match self {
            Self::Partition(device)
            | Self::NoUdp(device)
            | Self::Drop(device)
            | Self::SendAgain(device)
            | Self::Kill(device, _)
            | Self::PowerCut(device)
            | Self::Quarantine(device)
            | Self::Corrupt(device, _)
            | Self::Lied(device)
            | Self::ClockJump(device)
            | Self::WorkerCrash(device)
            | Self::Clone(device)
            | Self::Revoke(device) => Some(device),
            Self::SitePartition(_) | Self::CloudCrash(_) | Self::Restore => None,
        }
    }
}

/// A fault and when it happens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scheduled {
    /// Its begin.
    pub at: Ms,
    /// Its end.
    pub until: Ms,
    /// What it is.
    pub fault: Fault,
}

/// Everything a seed decides about a run before it begins.
#[derive(Debug)]
pub(crate) struct Scenario {
    /// When faults end.
    pub end: Ms,
    /// Site of every device.
    pub sites: Vec<u64>,
    /// Bytes the outbox of every device may hold.
    pub quotas: Vec<u64>,
    /// Number of models.
    pub models: usize,
    /// Everything that can be deployed.
    pub releases: Vec<Release>,
    /// The operator's script, in order.
    pub intents: Vec<Intent>,
    /// Percent of each named wave.
    pub waves: Vec<u8>,
    /// Disruption budget of every deployment.
    pub budget: Budget,
    /// What goes wrong.
    pub faults: Vec<Scheduled>,
    /// Pause between two backups.
    pub backup_every: Ms,
}

impl Scenario {
    /// What `seed` stands for.
    #[must_use]
    pub(crate) fn draw(random: &mut Random, days: u64, devices: Option<NonZeroU64>) -> Self {
        let end = days * DAY;
        let drawn = random.skewed(5, 40);
        let devices = devices.map_or(drawn, NonZeroU64::get);
        let sites = random.between(1, SITES_MAX);
        let at_sites: Vec<u64> = (0..devices).map(|_| random.below(sites)).collect();
        let models = random.between(1, 2);
        let models = usize::try_from(models).unwrap_or(1);
        let quotas = (0..devices).map(|_| quota(random)).collect();
        let (releases, intents) = script(random, models, end);
        let waves = match random.below(3) {
            0 => vec![10],
            1 => vec![10, 30],
            _ => vec![5, 20, 50],
        };
        let budget = match u32::try_from(random.between(0, 6)).ok() {
            Some(most) if most > 0 => std::num::NonZeroU32::new(most).map(Budget::AtMost),
            _ => None,
        };
        let mut faults = Vec::new();
        for device in 0..at_sites.len() {
            of_device(random, device, end, &mut faults);
        }
        of_fleet(random, sites, at_sites.len(), end, &mut faults);
        faults.sort_by_key(|scheduled| scheduled.at);
        Self {
            end,
            sites: at_sites,
            quotas,
            models,
            releases,
            intents,
            waves,
            budget: budget.unwrap_or_default(),
            faults,
            backup_every: random.between(4 * HOUR, 2 * DAY),
        }
    }
}

/// Most devices have room for weeks; some have so little that an outage of an hour fills it.
fn quota(random: &mut Random) -> u64 {
    match random.below(4) {
        0 => random.between(60_000, 400_000),
        _ => 64 * 1024 * 1024,
    }
}

/// The releases and who is deployed when; the last one of every model is good.
fn script(random: &mut Random, models: usize, end: Ms) -> (Vec<Release>, Vec<Intent>) {
    let mut releases = Vec::new();
    let mut intents = Vec::new();
    for model in 0..models {
        let mut release = |quality| {
            let number = releases.len();
            let version = format!("m{model}@{number}");
            releases.push(Release {
                package: PackageId {
                    version: version.parse().expect("a model and a number"),
                    digest: Digest::of(version.as_bytes()),
                },
                quality,
            });
            number
        };
        let mut at = random.between(MINUTE, HOUR);
        let mut good = vec![release(Quality::Good)];
        intents.push(Intent {
            at,
            model,
            release: good[0],
        });
        loop {
            at += random.skewed(2 * HOUR, 8 * DAY);
            if at >= end {
                break;
            }
            let next = match random.below(8) {
                0 => release(Quality::FailsGolden),
                1 => release(Quality::CrashesEarly),
                2 => release(Quality::CrashesLate),
                // Back to something older.
                3 => good[random.index(good.len())],
                _ => {
                    let next = release(Quality::Good);
                    good.push(next);
                    next
                }
            };
            intents.push(Intent {
                at,
                model,
                release: next,
            });
        }
        let last = release(Quality::Good);
        intents.push(Intent {
            at: end,
            model,
            release: last,
        });
    }
    intents.sort_by_key(|intent| intent.at);
    (releases, intents)
}

fn of_device(random: &mut Random, device: Device, end: Ms, faults: &mut Vec<Scheduled>) {
    let trouble = random.below(4);
    for _ in 0..random.between(2, 4 + trouble * 4) {
        let at = random.between(HOUR, end - HOUR);
        let short = random.skewed(5_000, HOUR);
        let step = u32::try_from(random.below(24)).unwrap_or(0);
        let (fault, length) = match random.below(22) {
            0..=3 => (Fault::Partition(device), random.skewed(10_000, 7 * DAY)),
            4..=6 => (Fault::NoUdp(device), random.skewed(10_000, 2 * DAY)),
            7..=9 => (Fault::Drop(device), 0),
            10..=13 => (Fault::Kill(device, step), 0),
            14 => (Fault::PowerCut(device), short),
            15 => (Fault::ClockJump(device), 0),
            16 => (Fault::WorkerCrash(device), 0),
            17 => (Fault::Corrupt(device, step), short),
            18 => match random.below(3) {
                0 => (Fault::Quarantine(device), short),
                1 => (Fault::Lied(device), short),
                _ => (Fault::PowerCut(device), short),
            },
            19 | 20 => (Fault::SendAgain(device), 0),
            _ => (Fault::Partition(device), short),
        };
        faults.push(Scheduled {
            at,
            until: (at + length).min(end),
            fault,
        });
    }
}

fn of_fleet(random: &mut Random, sites: u64, devices: usize, end: Ms, faults: &mut Vec<Scheduled>) {
    let mut add = |at: Ms, length: Ms, fault| {
        let until = (at + length).min(end);
        faults.push(Scheduled { at, until, fault });
    };
    for _ in 0..random.below(6) {
        let at = random.between(HOUR, end - HOUR);
        let site = random.below(sites);
        let length = random.skewed(10_000, 7 * DAY);
        add(at, length, Fault::SitePartition(site));
    }
    for _ in 0..random.below(8) {
        let at = random.between(HOUR, end - HOUR);
        let step = u32::try_from(random.below(40)).unwrap_or(0);
        let length = random.skewed(2_000, HOUR);
        add(at, length, Fault::CloudCrash(step));
    }
    if random.one_in(2) {
        for _ in 0..random.between(1, 2) {
            let at = random.between(end / 4, end - HOUR);
            let length = random.skewed(MINUTE, HOUR);
            add(at, length, Fault::Restore);
        }
    }
    if random.one_in(4) {
        let at = random.between(DAY.min(end / 2), end - HOUR);
        add(at, 0, Fault::Clone(random.index(devices)));
    }
    if random.one_in(4) {
        let at = random.between(DAY.min(end / 2), end - HOUR);
        add(at, 0, Fault::Revoke(random.index(devices)));
    }
}
