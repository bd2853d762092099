//! `make demo`: two factory nodes run real models on real pictures and real sensor rows, report summaries to
//! cloudcore, and take a model update while requests keep flowing. Exit code 0 only if everything held.
//!
//! [`stage`] starts the real programs, [`vision`] and [`sensors`] are the cameras and controllers around them,
//! [`report`] holds what the clients saw against what cloudcore counted.

mod report;
mod sensors;
mod stage;
mod tally;
mod vision;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Parser;
use millwright_tests::packages::Package;

use crate::report::Report;
use crate::sensors::{Controller, Rows};
use crate::stage::Stage;
use crate::vision::{Camera, Pictures};

/// How long each version works before the next step, so that the table rests on enough requests.
const WORK: Duration = Duration::from_secs(12);

/// Model update under load, from `apply` to the last node.
const ROLLOUT_TIMEOUT: &str = "120s";

/// The main job, end to end, on real input.
#[derive(Parser)]
struct Arguments {
    /// Leave everything running at the end and print how to look around.
    #[arg(long)]
    keep: bool,
    /// Swallow every datagram of the second node: it must come up over WebSocket.
    #[arg(long)]
    udp_blocked: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nThe demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<()> {
    let begin = Instant::now();
    let say = |text: String| println!("[{:5.1} s] {text}", begin.elapsed().as_secs_f64());

    let pictures = Arc::new(Pictures::load()?);
    let rows = Rows::load()?;
    let stage = Stage::set(arguments.udp_blocked, &say).await?;

    stage.publish(&[Package::FaceDetector1, Package::ShuttleAnomaly1], &say)?;
    stage.roll_out(
        &[Package::FaceDetector1, Package::ShuttleAnomaly1],
        ROLLOUT_TIMEOUT,
        &say,
    )?;

    say(format!(
        "sending {} pictures over HTTP and {} sensor rows over MQTT, again and again, to every node",
        pictures.count(),
        rows.count()
    ));
    let mut cameras = Vec::new();
    let mut controllers = Vec::new();
    for node in stage.nodes() {
        cameras.push(Camera::start(&pictures, node.agent.http())?);
        let topics = sensors::topics(node.site, node.agent.name());
        controllers.push(Controller::start(&rows, stage.broker().address(), topics).await?);
    }
    tokio::time::sleep(WORK).await;

    stage.publish(&[Package::FaceDetector2, Package::ShuttleAnomaly2], &say)?;
    say("rolling version 2.0.0 of both models out, under load".to_owned());
    stage.roll_out(
        &[Package::FaceDetector2, Package::ShuttleAnomaly2],
        ROLLOUT_TIMEOUT,
        &say,
    )?;
    tokio::time::sleep(WORK).await;

    let mut report = Report::default();
    for ((node, camera), controller) in stage.nodes().zip(cameras).zip(controllers) {
        report.add(node.agent.name(), vision::MODEL, camera.stop().await?);
        report.add(node.agent.name(), sensors::MODEL, controller.stop().await?);
    }
    say("requests stopped; comparing with what cloudcore counted".to_owned());
    report.complete(&stage).await?;
    println!("\n{}", report.table());
    let broken = report.broken();
    for check in report.held() {
        println!("  held: {check}");
    }
    if arguments.keep {
        stage.leave_running()?;
    }
    if !broken.is_empty() {
        bail!("\n  {}", broken.join("\n  "));
    }
    println!(
        "\nEverything held, in {:.0} s.",
        begin.elapsed().as_secs_f64()
    );
    Ok(())
}
