//! `fleetctl model pack`: from an ONNX file and data to a package that a real agent serves.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use millwright_tests::agent::{AgentOptions, Trial};
use millwright_tests::fleet::{Fleet, sensor_rows};
use millwright_tests::packages::{Package, data, onnxruntime, python};
use millwright_tests::{checkout, program};

/// `fleetctl model pack` of one model into `directory/packed`.
struct Packing {
    directory: tempfile::TempDir,
    model: PathBuf,
}

impl Packing {
    fn of(package: Package) -> Result<Self> {
        Ok(Self {
            directory: tempfile::tempdir()?,
            model: package.source()?.join("model.onnx"),
        })
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> Result<String> {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content)?;
        Ok(path.display().to_string())
    }

    fn packed(&self) -> PathBuf {
        self.directory.path().join("packed")
    }

    fn run(&self, flags: &[&str]) -> Result<Output> {
        Command::new(program("fleetctl")?)
            .args(["model", "pack"])
            .arg(&self.model)
            .args(["--name", "packed", "--version", "1.0.0", "--out"])
            .arg(self.packed())
            .arg("--onnxruntime")
            .arg(onnxruntime()?)
            .args(flags)
            .output()
            .context("starting fleetctl")
    }

    /// Packs and returns what `-o json` tells.
    fn pack(&self, flags: &[&str]) -> Result<serde_json::Value> {
        let output = self.run(&[flags, &["-o", "json"]].concat())?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Checks that it is refused with `words` and leaves nothing behind.
    fn check_refused(&self, flags: &[&str], words: &[&str]) -> Result<()> {
        let output = self.run(flags)?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(6), "{flags:?}: {told}");
        for word in words {
            ensure!(
                told.contains(word),
                "{flags:?} does not say `{word}`: {told}"
            );
        }
        for entry in std::fs::read_dir(self.directory.path())? {
            let name = entry?.file_name();
            let name = name.to_string_lossy().into_owned();
            ensure!(
                name != "packed" && !name.starts_with('.'),
                "{flags:?} left {name} behind"
            );
        }
        Ok(())
    }
}

/// Runs a line of Python that makes arrays of NumPy.
fn numpy(directory: &Path, code: &str) -> Result<()> {
    let output = Command::new(python()?)
        .args(["-c", &format!("import numpy as np\n{code}")])
        .current_dir(directory)
        .output()?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{told}");
    Ok(())
}

/// The sensor rows of the test data as `all`.
fn rows() -> String {
    let file = data("shuttle.csv").display().to_string();
    format!(
        "all = np.loadtxt({file:?}, delimiter=',', skiprows=1, usecols=range(9), dtype=np.float32)\n"
    )
}

const COLUMNS: &str = "f1,f2,f3,f4,f5,f6,f7,f8,f9";

#[tokio::test(flavor = "multi_thread")]
async fn a_model_packed_from_rows_is_rolled_out_and_serves() -> Result<()> {
    let packing = Packing::of(Package::ShuttleAnomaly1)?;
    let code = rows() + "np.savez('rows.npz', sensors=all[:16])";
    numpy(packing.directory.path(), &code)?;
    let golden = packing
        .directory
        .path()
        .join("rows.npz")
        .display()
        .to_string();
    let sample = data("shuttle.csv").display().to_string();
    let flags = [
        &[
            "--golden",
            &golden,
            "--sample",
            &sample,
            "--columns",
            COLUMNS,
        ][..],
        &["--confidence", "scores=min", "--memory-mib", "256"],
    ];
    let told = packing.pack(&flags.concat())?;
    assert_eq!(told["golden"][0]["file"], "golden/rows.safetensors");
    assert_eq!(told["golden"][0]["maxAbsolute"], 0.0);
    assert_eq!(told["profile"]["features"], 9);
    assert_eq!(told["profile"]["rows"], 2000);
    assert_eq!(told["profile"]["confidences"], 2000);
    let run = &told["run"];
    let number = |key: &str| run[key].as_u64().unwrap_or(0);
    ensure!(number("runs") > 0 && number("p50Us") > 0, "{run}");
    ensure!(
        number("p50Us") <= number("p99Us") && number("p99Us") <= number("maxUs"),
        "{run}"
    );
    ensure!(number("memoryPeakBytes") > 20_000_000, "{run}");

    let fleet = Fleet::start(AgentOptions::quick()?).await?;
    fleet.cloud.publish_directory(&packing.packed())?;
    fleet.cloud.apply(
        "apiVersion: millwright/v1\nkind: ModelDeployment\nmetadata: {name: packed}\n\
         spec: {model: packed, version: 1.0.0, strategy: {proveForSeconds: 1}}\n",
    )?;
    fleet.cloud.fleetctl(&[
        "rollout",
        "status",
        "--deployment",
        "packed",
        "--timeout",
        "120s",
    ])?;
    let reply = fleet.client()?.infer("packed", &[sensor_rows(3)?]).await?;
    assert_eq!(reply.outputs["scores"].shape, [3, 1]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_packed_from_pictures_passes_its_golden_set_in_an_agent() -> Result<()> {
    let packing = Packing::of(Package::FaceDetector1)?;
    // A pipeline as it stands in the documentation, and the preprocessing alone.
    let pipeline = "apiVersion: millwright/v1\nkind: Pipeline\nmetadata: {name: gate}\nspec:\n  \
        source: {camera: {url: 'http://10.0.0.7/mjpg/video.mjpg'}}\n  \
        preprocess: {image: {size: [320, 256]}}\n  model: face-detector\n  \
        sinks: [{webhook: {url: 'http://10.0.0.3/faces'}}]\n";
    let pipeline = packing.file("gate.yaml", pipeline)?;
    let pictures = checkout().join("tests/data/pictures");
    let face = pictures.join("astronaut.jpg").display().to_string();
    let pictures = pictures.display().to_string();
    let flags = [
        &[
            "--preprocess",
            &pipeline,
            "--golden",
            &face,
            "--sample",
            &pictures,
        ][..],
        &["--confidence", "537=max", "--runs", "3"],
    ];
    let told = packing.pack(&flags.concat())?;
    assert_eq!(
        told["inputs"][0]["shape"],
        serde_json::json!([1, 3, 256, 320])
    );
    assert_eq!(told["golden"].as_array().map(Vec::len), Some(4));
    assert_eq!(told["profile"]["pictures"], 5);
    assert_eq!(told["profile"]["confidences"], 5);
    assert_eq!(told["run"]["runs"], 3);
    // It becomes ready only after its golden set came out as recorded.
    let options = AgentOptions::quick()?;
    let trial = Trial::start(packing.directory.path(), &packing.packed(), &options).await?;
    let (status, text) = trial.client()?.get("/v2/models/packed").await?;
    ensure!(status == 200 && text.contains("input.1"), "{text}");
    Ok(())
}

#[test]
fn data_that_does_not_fit_is_named_and_leaves_no_package() -> Result<()> {
    let packing = Packing::of(Package::ShuttleAnomaly1)?;
    let code = rows()
        + "np.savez('double.npz', sensors=all[:2].astype(np.float64))\n\
           np.savez('named.npz', sensor=all[:2])\n\
           np.savez('narrow.npz', sensors=all[:2, :7])\n\
           np.savez('columns.npz', sensors=np.asfortranarray(all[:2]))\n\
           np.savez('other.npz', sensors=all[:1], scores=np.full((1, 1), 9, dtype=np.float32))";
    numpy(packing.directory.path(), &code)?;
    let path = |name: &str| packing.directory.path().join(name).display().to_string();
    packing.file("page.npz", "<html>404</html>")?;
    packing.file("cut.npz", &std::fs::read(path("narrow.npz"))?[..100])?;
    packing.file("text.csv", "f1\nred\n")?;
    for (file, words) in [
        (
            "double.npz",
            &["double.npz", "float64", ".astype(float32)"][..],
        ),
        ("named.npz", &["no input or output `sensor`", "`sensors`"]),
        ("narrow.npz", &["[2, 7]", "[-1, 9]"]),
        ("columns.npz", &["ascontiguousarray"]),
        (
            "other.npz",
            &["`scores` differs in 1 of 1", "--absolute-tolerance"],
        ),
        ("page.npz", &["page.npz", "numpy.savez"]),
        ("cut.npz", &["cut.npz"]),
        ("absent.npz", &["absent.npz", "No such file"]),
        ("text.csv", &["text.csv"]),
        ("picture.jpg", &["--preprocess"]),
        ("notes.txt", &["none of .npz"]),
    ] {
        packing.check_refused(&["--golden", &path(file)], words)?;
    }
    let csv = data("shuttle.csv").display().to_string();
    packing.check_refused(&["--sample", &csv], &["10 columns", "--columns"])?;
    packing.check_refused(
        &["--confidence", "score=max"],
        &["--confidence", "`scores`"],
    )?;
    packing.check_refused(&["--class", "kind"], &["--class", "`label`"])?;
    packing.check_refused(&["--shape", "sensors=1x8"], &["[-1, 9]"])?;
    packing.check_refused(&["--state", "sensors=none"], &["no output `none`"])?;
    packing.check_refused(
        &["--memory-mib", "1"],
        &["--memory-mib 1: the model does not open"],
    )?;
    packing.check_refused(&["--agent", "/nowhere/edge-agent"], &["--agent FILE"])?;
    Ok(())
}

#[test]
fn models_that_are_none_or_leave_lengths_open_say_what_to_do() -> Result<()> {
    let mut packing = Packing::of(Package::FaceDetector1)?;
    packing.check_refused(&[], &["--shape input.1=1x3x640x640", "--golden"])?;
    let upright = packing.file("upright.yaml", "size: [320, 256]\nlayout: nhwc\n")?;
    packing.check_refused(&["--preprocess", &upright], &["[1, 256, 320, 3]", "layout"])?;
    let whole = std::fs::read(&packing.model)?;
    for (name, content, words) in [
        ("cut.onnx", &whole[..whole.len() / 2], "cut off"),
        (
            "page.onnx",
            b"<html>404 Not Found</html>",
            "is not an ONNX model",
        ),
        // The outside of a model, and inside nothing ONNX Runtime knows.
        (
            "odd.onnx",
            b"\x08\x08\x3a\x03\x0a\x01x\x42\x02\x10\x11",
            "odd.onnx",
        ),
    ] {
        packing.model = packing.file(name, content)?.into();
        packing.check_refused(&[], &[name, words])?;
    }
    Ok(())
}

#[test]
fn what_stands_in_the_place_of_the_package_stays_as_it_is() -> Result<()> {
    let packing = Packing::of(Package::ShuttleAnomaly1)?;
    std::fs::create_dir(packing.packed())?;
    std::fs::write(packing.packed().join("mine"), "mine")?;
    let output = packing.run(&[])?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(
        !output.status.success() && told.contains("exists already"),
        "{told}"
    );
    assert_eq!(
        std::fs::read_to_string(packing.packed().join("mine"))?,
        "mine"
    );
    Ok(())
}
