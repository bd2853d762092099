//! `millwright-simulation`: runs seeds, or one of them again with everything it does printed.

use std::num::{NonZeroU64, NonZeroUsize};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use clap::{Args, Parser, Subcommand, ValueEnum};
use millwright_simulation::{Bug, Failed, Options, Passed, Printing, run};
use serde::Serialize;

/// A whole fleet in seeded runs: both cores through simulated weeks of faults.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a range of seeds; ends with 1 when an invariant broke in any of them.
    Run {
        /// First seed and the one after the last: `0..10000`.
        #[arg(long, value_parser = range)]
        seeds: (u64, u64),
        #[command(flatten)]
        form: Form,
        /// Seeds at once; as many as there are processors unless told.
        #[arg(long)]
        jobs: Option<NonZeroUsize>,
        /// Text for people, JSON for programs.
        #[arg(long, short, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Run one seed again.
    Replay {
        /// Which.
        #[arg(long)]
        seed: u64,
        /// As in the run that failed.
        #[command(flatten)]
        form: Form,
        /// Print every event.
        #[arg(long)]
        trace: bool,
    },
}

/// What a run is made from beside its seed.
#[derive(Args, Clone, Copy)]
struct Form {
    /// Simulated days with faults.
    #[arg(long, default_value_t = 30)]
    days: u64,
    /// Devices of every fleet; drawn from the seed, from 5 to 40, unless told.
    #[arg(long)]
    devices: Option<NonZeroU64>,
    /// Put in a wrong decision, to see it found.
    #[arg(long, value_parser = bug)]
    bug: Option<Bug>,
}

impl Form {
    fn options(self, seed: u64, printing: Printing) -> Options {
        Options {
            seed,
            days: self.days,
            devices: self.devices,
            bug: self.bug.unwrap_or_default(),
            printing,
        }
    }

    /// The command that runs a seed again.
    fn replay(self, seed: u64) -> String {
        let mut command = format!(
            "millwright-simulation replay --seed {seed} --days {}",
            self.days
        );
        if let Some(devices) = self.devices {
            command.push_str(&format!(" --devices {devices}"));
        }
        if let Some((name, _)) = Bug::ALL.iter().find(|(_, bug)| Some(*bug) == self.bug) {
            command.push_str(&format!(" --bug {name}"));
        }
        command + " --trace"
    }
}

#[derive(Clone, Copy, ValueEnum, PartialEq, Eq)]
enum Output {
    Text,
    Json,
}

/// What a range of seeds came to.
#[derive(Default, Serialize)]
struct Summary {
    seeds: u64,
    days: u64,
    failed: Vec<u64>,
    events: u64,
    device_days: u64,
    committed: u64,
    counted: u64,
    declared: u64,
    excused: u64,
    slowest_convergence_ms: u64,
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let parsed = text.split_once("..").and_then(|(first, end)| {
        let (first, end) = (first.parse().ok()?, end.parse().ok()?);
        (first < end).then_some((first, end))
    });
    parsed.ok_or_else(|| format!("`{text}` is no range of seeds such as 0..100"))
}

fn bug(text: &str) -> Result<Bug, String> {
    let found = Bug::ALL.iter().find(|(name, _)| *name == text);
    found.map(|(_, bug)| *bug).ok_or_else(|| {
        let names: Vec<_> = Bug::ALL.iter().map(|(name, _)| *name).collect();
        format!("`{text}` is none of {}", names.join(", "))
    })
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run {
            seeds,
            form,
            jobs,
            output,
        } => {
            let jobs = jobs.or_else(|| std::thread::available_parallelism().ok());
            let jobs = jobs.map_or(1, NonZeroUsize::get);
            tell(&run_all(seeds, form, jobs), output)
        }
        Command::Replay { seed, form, trace } => replay(seed, form, trace),
    }
}

fn replay(seed: u64, form: Form, trace: bool) -> ExitCode {
    let printing = match trace {
        true => Printing::Everything,
        false => Printing::Quiet,
    };
    match run(form.options(seed, printing)) {
        Ok(passed) => {
            println!("seed {seed}: every invariant held; {passed:?}");
            ExitCode::SUCCESS
        }
        Err(failed) => {
            println!("{}", report(&failed, form));
            ExitCode::FAILURE
        }
    }
}

fn run_all((first, end): (u64, u64), form: Form, jobs: usize) -> Summary {
    let next = AtomicU64::new(first);
    let (sender, results) = mpsc::channel::<(u64, Result<Passed, Box<Failed>>)>();
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        break;
                    }
                    let options = form.options(seed, Printing::Quiet);
                    if sender.send((seed, run(options))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut summary = Summary {
            days: form.days,
            ..Summary::default()
        };
        for (seed, result) in results {
            add(&mut summary, seed, result, form);
            if summary.seeds.is_multiple_of(100) {
                let failed = summary.failed.len();
                eprintln!(
                    "{} of {} seeds, {failed} failed",
                    summary.seeds,
                    end - first
                );
            }
        }
        summary.failed.sort_unstable();
        summary
    })
}

fn add(summary: &mut Summary, seed: u64, result: Result<Passed, Box<Failed>>, form: Form) {
    summary.seeds += 1;
    match result {
        Ok(passed) => {
            summary.events += passed.events;
            summary.device_days += passed.devices as u64 * summary.days;
            summary.committed += passed.totals.committed;
            summary.counted += passed.totals.counted;
            summary.declared += passed.totals.declared;
            summary.excused += passed.totals.excused;
            let slowest = summary.slowest_convergence_ms.max(passed.converged_ms);
            summary.slowest_convergence_ms = slowest;
        }
        Err(failed) => {
            summary.failed.push(seed);
            eprintln!("{}", report(&failed, form));
        }
    }
}

/// Everything somebody needs who looks for the cause.
fn report(failed: &Failed, form: Form) -> String {
    let Failed {
        seed,
        event,
        at,
        device,
        what,
        last,
    } = failed;
    let whose = match device {
        Some(device) => format!("device {device}"),
        None => "the fleet".to_owned(),
    };
    format!(
        "seed {seed} FAILED at event {event}, {} h {} min into the run, {whose}: {what}\n  {}\n  replay it: {}",
        at / 3_600_000,
        at / 60_000 % 60,
        last.join("\n  "),
        form.replay(*seed)
    )
}

fn tell(summary: &Summary, output: Output) -> ExitCode {
    if output == Output::Json {
        println!("{}", serde_json::json!(summary));
    } else {
        println!(
            "{} seeds of {} days ({} device days, {} events): {} failed{}\n\
             {} records committed: {} counted once, {} declared lost, {} on disks that were wiped, copied, revoked or lied\n\
             everything had converged {} min after the last fault at the latest",
            summary.seeds,
            summary.days,
            summary.device_days,
            summary.events,
            summary.failed.len(),
            match summary.failed.is_empty() {
                true => String::new(),
                false => format!(": {:?}", summary.failed),
            },
            summary.committed,
            summary.counted,
            summary.declared,
            summary.excused,
            summary.slowest_convergence_ms / 60_000,
        );
    }
    match summary.failed.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
