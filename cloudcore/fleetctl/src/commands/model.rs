//! `fleetctl model`: keys, signatures, publishing.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use millwright_package::{SIGNATURE_FILE, SigningKey, TrustKeys};
use millwright_proto::ids::ModelVersion;
use serde::Serialize;

use super::{get, push};
use crate::client::{Client, Filter};
use crate::output::{self, Column, Format, OutputArgs, bytes, table};
use crate::pack::arguments::PackArgs;
use crate::package::PackageDirectory;
use crate::private_file;

/// Commands about models.
#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Make a key that signs model packages
    #[command(after_help = "\
Writes the private key (PEM, mode 0600) and beside it the public key with `.pub` added, which
devices are given by `edge-agent enroll --trust-key`.

Examples:
  fleetctl model keygen --out signing.key")]
    Keygen(KeygenArgs),
    /// Make a package of an ONNX file and sample data, and try it on this machine
    #[command(after_help = "\
Reads inputs and outputs from the model, writes model.yaml, runs the model on golden inputs and
keeps what comes out, computes the baseline profile of sample data, then opens the finished package
as a node would and tells its latency and memory on this machine. The model runs in the sandboxed
worker of edge-agent, which needs ONNX Runtime. DIR appears only when everything is right.

With the directory of a package and --key it only checks and signs, as `model sign` does.

Examples:
  fleetctl model pack detector.onnx --name face-detector --version 1.0.0 --preprocess gate.yaml --golden face.jpg --sample ./pictures --confidence scores=max
  fleetctl model pack forest.onnx --name press-anomaly --version 2.1.0 --golden rows.npz --sample june.csv --columns force,temperature,current --confidence scores=min
  fleetctl model pack yolo.onnx --name parts --version 1.0.0 --shape images=1x3x640x640 --memory-mib 512 --threads 2
  fleetctl model pack vad.onnx --name voice --version 5.0.0 --state state=stateN:2x1x128 --golden speech.npz
  fleetctl model pack ./face-detector --key signing.key")]
    Pack(Box<PackArgs>),
    /// Check a package directory and sign it
    #[command(after_help = "\
Checks model.yaml, that its files exist, that the model is ONNX, and that golden sets fit. Writes
DIR/model.sig in the OpenSSF Model Signing format; `model_signing verify key` reads it too.

Examples:
  fleetctl model sign ./face-detector --key signing.key")]
    Sign(SignArgs),
    /// Check a package directory against the keys you trust
    #[command(after_help = "\
Examples:
  fleetctl model verify ./face-detector --trust-key signing.key.pub")]
    Verify(VerifyArgs),
    /// Publish a signed package as a new model version
    #[command(after_help = "\
Uploads only what cloudcore does not have. Pushing the same again changes nothing; a version
with other content is refused, because versions are immutable.

Examples:
  fleetctl model push ./face-detector
  fleetctl model push ./face-detector --trust-key signing.key.pub")]
    Push(push::PushArgs),
    /// List published model versions
    #[command(after_help = "\
Examples:
  fleetctl model ls
  fleetctl model ls face-detector -o wide")]
    Ls(LsArgs),
}

/// Arguments of `model keygen`.
#[derive(Args, Debug)]
pub(crate) struct KeygenArgs {
    /// File for the private key; must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Arguments of `model sign`.
#[derive(Args, Debug)]
pub(crate) struct SignArgs {
    /// The package's directory
    directory: PathBuf,
    /// Private key from `model keygen`
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

/// Arguments of `model verify`.
#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// The package's directory
    directory: PathBuf,
    /// Public key to trust; may be given several times
    #[arg(long = "trust-key", value_name = "FILE", required = true)]
    trust_keys: Vec<PathBuf>,
}

/// Arguments of `model ls`.
#[derive(Args, Debug)]
pub(crate) struct LsArgs {
    /// Only versions of this model
    model: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

/// What `model sign -o json` prints.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Packed {
    model: String,
    version: String,
    signed_by: String,
    files: Vec<PackedFile>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PackedFile {
    path: String,
    digest: String,
    size_bytes: u64,
}

pub(super) async fn run(
    command: ModelCommand,
    connect: impl Fn() -> anyhow::Result<Client>,
    out: &mut dyn Write,
    now: Timestamp,
) -> anyhow::Result<()> {
    match command {
        ModelCommand::Keygen(args) => keygen(&args.out, out),
        ModelCommand::Pack(args) => pack(&args, out),
        ModelCommand::Sign(args) => sign(&args.directory, &args.key, args.output.output, out),
        ModelCommand::Verify(args) => verify(&args, out),
        ModelCommand::Push(args) => push::run(&args, connect, out).await,
        ModelCommand::Ls(args) => {
            let fields = args.model.map(|model| format!("spec.model={model}"));
            let filter = Filter {
                labels: None,
                fields,
            };
            let client = connect()?;
            get::list::<fleet_api::ModelVersion>(&filter, args.output.output, &client, out, now)
                .await
        }
    }
}

fn keygen(path: &Path, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut public = path.as_os_str().to_owned();
    public.push(".pub");
    let public = PathBuf::from(public);
    for file in [path, &public] {
        if file.exists() {
            bail!(
                "{} exists already: keys are never overwritten, choose another name",
                file.display()
            );
        }
    }
    let key = SigningKey::generate()?;
    private_file::write(path, &key.to_pem())
        .with_context(|| format!("cannot write the private key to {}", path.display()))?;
    std::fs::write(&public, key.public_pem())
        .with_context(|| format!("cannot write the public key to {}", public.display()))?;
    writeln!(out, "{}\n{}", path.display(), public.display())?;
    eprintln!(
        "Key {}: keep the first file secret, give the second to devices",
        key.hint()
    );
    Ok(())
}

/// Makes a package of a file; signs one that is a directory.
fn pack(args: &PackArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    if args.model.is_dir() {
        let Some(key) = &args.key else {
            bail!(
                "{} is a directory, which is only signed: name the key with --key FILE, or the ONNX file to make a package of",
                args.model.display()
            );
        };
        return sign(&args.model, key, args.output.output, out);
    }
    let (Some(model), Some(version)) = (&args.name, &args.model_version) else {
        bail!(
            "a package needs a name and a version: add --name NAME --version VERSION, for example --name face-detector --version 1.0.0"
        );
    };
    let model = ModelVersion {
        model: model.clone(),
        version: version.clone(),
    };
    let key = args.key.as_deref().map(signing_key).transpose()?;
    crate::pack::run(args, &model, key.as_ref(), out)
}

fn signing_key(path: &Path) -> anyhow::Result<SigningKey> {
    let pem = std::fs::read_to_string(path).with_context(|| {
        format!(
            "cannot read {}: make a key with `fleetctl model keygen`",
            path.display()
        )
    })?;
    Ok(SigningKey::from_pem(&pem, &path.display().to_string())?)
}

fn sign(directory: &Path, key: &Path, format: Format, out: &mut dyn Write) -> anyhow::Result<()> {
    let package = PackageDirectory::read(directory)?;
    let key = signing_key(key)?;
    let model = package.manifest.model_version();
    let bundle = key.sign(&package.files, &model)?;
    let path = package.signature_path();
    std::fs::write(&path, bundle)
        .with_context(|| format!("cannot write the signature to {}", path.display()))?;
    print_packed(&package, &key, format, out)?;
    if package.manifest.golden.is_empty() {
        eprintln!(
            "Note: {model} has no golden set, so nothing proves it on the device before it runs"
        );
    }
    eprintln!(
        "Signed {model} with key {}; next: fleetctl model push {}",
        key.hint(),
        directory.display()
    );
    Ok(())
}

fn print_packed(
    package: &PackageDirectory,
    key: &SigningKey,
    format: Format,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let file = |entry: &millwright_package::FileEntry| PackedFile {
        path: entry.path.to_string(),
        digest: entry.digest.to_string(),
        size_bytes: entry.size_bytes,
    };
    let packed = Packed {
        model: package.manifest.model.to_string(),
        version: package.manifest.version.to_string(),
        signed_by: key.hint().to_string(),
        files: package.files.entries().iter().map(file).collect(),
    };
    match format {
        Format::Json => output::json(out, &packed)?,
        Format::Yaml => output::yaml(out, &packed)?,
        Format::Name => writeln!(out, "ModelVersion/{}", package.manifest.model_version())?,
        Format::Table | Format::Wide => {
            let cells = |file: PackedFile| vec![file.path, bytes(file.size_bytes), file.digest];
            let rows = packed.files.into_iter().map(cells).collect();
            let columns = ["PATH", "SIZE", "DIGEST"].map(Column::Always);
            write!(out, "{}", table(&columns, rows, format))?;
        }
    }
    Ok(())
}

fn verify(args: &VerifyArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let keys = trust_keys(&args.trust_keys)?;
    let package = PackageDirectory::read(&args.directory)?;
    let signer = millwright_package::verify(&package.bundle()?, &package.files, &keys)
        .map_err(|problem| package.signature_error(problem))?;
    let (model, files) = (
        package.manifest.model_version(),
        package.files.entries().len(),
    );
    writeln!(
        out,
        "{model}: {files} files in {} signed by {signer}",
        args.directory.display()
    )?;
    eprintln!("{SIGNATURE_FILE} is valid");
    Ok(())
}

/// Reads the public keys of `files`.
pub(super) fn trust_keys(files: &[PathBuf]) -> anyhow::Result<TrustKeys> {
    let mut texts = Vec::with_capacity(files.len());
    for file in files {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read the trust key {}", file.display()))?;
        texts.push((file.display().to_string(), text));
    }
    let pems = texts
        .iter()
        .map(|(origin, text)| (origin.as_str(), text.as_str()));
    Ok(TrustKeys::from_pems(pems)?)
}
