//! What a confined worker cannot do, tried from inside: a program that is its own test.
//!
//! For each attempt it starts itself once more as a process that loads ONNX Runtime, confines itself exactly
//! as a worker does, and then tries: in its first thread, in one that ran before, and in one started after.
//! It has no harness because one attempt may end the process, and because the process has to be alone.

use std::io::{self, ErrorKind};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::sync::mpsc;

use edge_agent::worker::sandbox::{self, Bounds, Gap, Reach, Strictness};
use rustix::process::{Pid, Resource, Rlimit, Signal};

/// What comes of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It works: the model needs it.
    Works,
    /// Refused by Landlock.
    NoAccess,
    /// Refused by the filter.
    NotPermitted,
    /// The kernel ends the process.
    Ends,
}

type Attempt = fn(&Path) -> io::Result<()>;

/// Each is given the package's directory, beside which lies the file `secret`.
const ATTEMPTS: [(&str, Fate, Attempt); 24] = [
    ("reads_the_model", Fate::Works, |at| {
        read(&at.join("model.onnx"))
    }),
    ("lists_the_package", Fate::Works, |at| {
        std::fs::read_dir(at).map(drop)
    }),
    ("reads_about_the_processor", Fate::Works, |_| {
        read(Path::new("/proc/cpuinfo"))
    }),
    ("starts_a_thread", Fate::Works, |_| {
        std::thread::Builder::new()
            .spawn(|| {})?
            .join()
            .map_err(|_| ErrorKind::Other.into())
    }),
    ("reads_beside_the_package", Fate::NoAccess, |at| {
        read(&at.join("../secret"))
    }),
    (
        "reads_through_a_link_out_of_the_package",
        Fate::NoAccess,
        |at| read(&at.join("link")),
    ),
    ("reads_accounts", Fate::NoAccess, |_| {
        read(Path::new("/etc/passwd"))
    }),
    ("reads_the_root_directory", Fate::NoAccess, |_| {
        std::fs::read_dir("/").map(drop)
    }),
    ("reads_the_agents_memory", Fate::NoAccess, |_| {
        read(&of_parent("mem"))
    }),
    ("reads_the_agents_environment", Fate::NoAccess, |_| {
        read(&of_parent("environ"))
    }),
    ("writes_into_the_package", Fate::NotPermitted, |at| {
        std::fs::write(at.join("model.onnx"), "x")
    }),
    ("creates_a_file", Fate::NotPermitted, |at| {
        std::fs::write(at.join("new"), "x")
    }),
    ("removes_a_file", Fate::NotPermitted, |at| {
        std::fs::remove_file(at.join("model.onnx"))
    }),
    ("makes_a_link", Fate::NotPermitted, |at| {
        std::os::unix::fs::symlink("/", at.join("root"))
    }),
    ("connects_by_tcp", Fate::NotPermitted, |_| {
        TcpStream::connect("127.0.0.1:1").map(drop)
    }),
    ("opens_udp", Fate::NotPermitted, |_| {
        UdpSocket::bind("127.0.0.1:0").map(drop)
    }),
    ("connects_to_a_local_socket", Fate::NotPermitted, |at| {
        UnixStream::connect(at.join("socket")).map(drop)
    }),
    ("starts_a_program", Fate::NotPermitted, |_| {
        Command::new("/bin/true").spawn().map(drop)
    }),
    ("signals_the_agent", Fate::NotPermitted, |_| {
        Ok(rustix::process::test_kill_process(parent())?)
    }),
    ("raises_its_limits", Fate::NotPermitted, |_| {
        let limit = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        Ok(rustix::process::setrlimit(Resource::Nofile, limit)?)
    }),
    ("makes_memory_to_run", Fate::NotPermitted, |_| {
        rustix::fs::memfd_create("code", rustix::fs::MemfdFlags::empty()).map(drop)?;
        Ok(())
    }),
    ("becomes_another_program", Fate::Ends, |_| {
        Err(Command::new("/bin/true").exec())
    }),
    ("takes_the_agents_files", Fate::Ends, |_| {
        // Which descriptor it is asked of does not matter: the call itself ends the process.
        let flags = rustix::process::PidfdGetfdFlags::empty();
        rustix::process::pidfd_getfd(io::stdin(), 0, flags).map(drop)?;
        Ok(())
    }),
    ("changes_its_root", Fate::Ends, |_| {
        Ok(rustix::process::chroot("/")?)
    }),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, name, package] = arguments.as_slice()
        && mode == "--attempt"
    {
        return attempt(name, Path::new(package));
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let chosen = ATTEMPTS
        .iter()
        .filter(|(name, ..)| filter.is_none_or(|filter| name.contains(filter.as_str())));
    if arguments.iter().any(|argument| argument == "--list") {
        chosen.for_each(|(name, ..)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for (name, expected, _) in chosen {
        let output = in_a_worker(name);
        let problem = judge(&output, *expected).err();
        println!("test {name} ... {}", problem.as_deref().unwrap_or("ok"));
        failed += u32::from(problem.is_some());
    }
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn in_a_worker(name: &str) -> Output {
    let directory = tempfile::tempdir().expect("a directory for the attempt");
    let package = directory.path().join("package");
    let prepared = std::fs::create_dir(&package)
        .and_then(|()| std::fs::write(package.join("model.onnx"), "model"))
        .and_then(|()| std::fs::write(directory.path().join("secret"), "secret"))
        .and_then(|()| std::os::unix::fs::symlink("../secret", package.join("link")));
    prepared.expect("files for the attempt");
    let itself = std::env::current_exe().expect("this program");
    let mut again = Command::new(itself);
    again.args(["--attempt", name]).arg(&package);
    again.output().expect("the attempt is started")
}

/// Whether all threads met `expected`. Where the kernel lacks a part, that has to have been told.
fn judge(output: &Output, expected: Fate) -> Result<(), String> {
    let said = String::from_utf8_lossy(&output.stdout);
    let context = || {
        format!(
            "FAILED: {}, said `{said}`, `{}`",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )
    };
    if expected == Fate::Ends {
        let ended = output.status.signal() == Some(Signal::SYS.as_raw());
        return if ended { Ok(()) } else { Err(context()) };
    }
    let mut lines = said.lines();
    let gaps = lines.next().ok_or_else(context)?;
    let told = match expected {
        Fate::Works | Fate::Ends => false,
        Fate::NoAccess => gaps.contains("no Landlock"),
        Fate::NotPermitted => gaps.contains("no seccomp"),
    };
    let wanted = match expected {
        Fate::Works | Fate::Ends => "works",
        Fate::NoAccess => "errno 13",
        Fate::NotPermitted => "errno 1",
    };
    let met: Vec<&str> = lines.collect();
    if told || met == [wanted; 3] {
        return Ok(());
    }
    Err(context())
}

/// In the second process: confines itself, and tries three times.
fn attempt(name: &str, package: &Path) -> ExitCode {
    let Some((_, _, attempt)) = ATTEMPTS.iter().find(|(known, ..)| *known == name) else {
        return ExitCode::FAILURE;
    };
    // One that ran before cannot be confined by Landlock, and workers have none; the filter reaches it.
    let (ready, confined) = mpsc::channel::<()>();
    let files = matches!(
        ATTEMPTS.iter().find(|(known, ..)| *known == name),
        Some((_, Fate::NoAccess, _))
    );
    let earlier = (!files).then(|| {
        let package = package.to_owned();
        let attempt = *attempt;
        std::thread::spawn(move || confined.recv().map(|()| attempt(&package)))
    });
    match confine(package) {
        Ok(gaps) => println!("gaps: {}", sandbox::listed(&gaps)),
        Err(error) => {
            println!("{error}");
            return ExitCode::FAILURE;
        }
    }
    told(attempt(package));
    if let Some(earlier) = earlier {
        let _ = ready.send(());
        told(
            earlier
                .join()
                .expect("the earlier thread")
                .expect("its signal"),
        );
    } else {
        told(attempt(package));
    }
    let package = package.to_owned();
    let attempt = *attempt;
    told(
        std::thread::spawn(move || attempt(&package))
            .join()
            .expect("the later thread"),
    );
    ExitCode::SUCCESS
}

fn confine(package: &Path) -> anyhow::Result<Vec<Gap>> {
    sandbox::confine_early()?;
    let library = library();
    let loaded = ort::init_from(&library)?;
    let gaps = sandbox::confine(&Bounds {
        directory: package,
        model: &package.join("model.onnx"),
        library: &library,
        memory_bytes: None,
        reach: Reach::Processor,
        strictness: Strictness::BestEffort,
    })?;
    // As in a worker, it lives as long as the process.
    std::mem::forget(loaded.build()?);
    Ok(gaps)
}

/// ONNX Runtime, where the set-up puts it.
fn library() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/onnxruntime")
        .join(std::env::consts::ARCH)
        .join("libonnxruntime.so.1.31.1")
}

fn told(result: io::Result<()>) {
    match result {
        Ok(()) => println!("works"),
        Err(error) => match error.raw_os_error() {
            Some(number) => println!("errno {number}"),
            None => println!("{error}"),
        },
    }
}

fn read(path: &Path) -> io::Result<()> {
    std::fs::File::open(path).map(drop)
}

fn parent() -> Pid {
    rustix::process::getppid().expect("the test started this process")
}

fn of_parent(file: &str) -> PathBuf {
    format!("/proc/{}/{file}", parent().as_raw_nonzero()).into()
}
