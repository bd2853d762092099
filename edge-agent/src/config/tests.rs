use clap::{CommandFactory, Parser};

use super::*;

fn run(flags: &[&str]) -> RunArguments {
    let all = ["edge-agent", "run"].iter().chain(flags);
    match Arguments::try_parse_from(all).unwrap().command {
        Command::Run(arguments) => *arguments,
        other => panic!("{other:?}"),
    }
}

fn merged(flags: &[&str], file: &str) -> Result<RunConfig, ConfigError> {
    RunConfig::merge(run(flags), ConfigFile::parse(file, "edge-agent.yaml")?)
}

const FULL: &str = "
dataDir: /srv/agent
http: 0.0.0.0:9000
onnxruntime: /opt/libonnxruntime.so
summaryWindowSeconds: 10
cloud: {quic: a:1, websocket: b:2}
mqtt:
  broker: mqtt://127.0.0.1:1883
  sources:
    - {topic: line1/shuttle, model: shuttle-anomaly, resultTopic: line1/shuttle/anomaly}
";

#[test]
fn the_command_line_is_consistent() {
    Arguments::command().debug_assert();
}

#[test]
fn flags_win_over_the_file_and_the_file_over_defaults() {
    let config = merged(&["--http", "127.0.0.1:0", "--quic", "c:3"], FULL).unwrap();
    assert_eq!(config.http, "127.0.0.1:0".parse().unwrap());
    assert_eq!(config.cloud.quic.as_deref(), Some("c:3"));
    assert_eq!(config.cloud.websocket.as_deref(), Some("b:2"));
    assert_eq!(config.summary_window, Some(Duration::from_secs(10)));
    let [pipeline] = &config.pipelines[..] else {
        panic!("{:?}", config.pipelines);
    };
    assert_eq!(pipeline.name().as_str(), "mqtt-1");
    let told = pipeline.sentences().join(" ");
    assert!(told.contains("Every result goes to `line1/shuttle/anomaly` at the same broker"));
    let default = merged(&[], "# nothing\n").unwrap();
    assert_eq!(default.http, HTTP);
    let data_dir = PathBuf::from(DATA_DIR);
    assert_eq!(default.mode, Mode::Fleet { data_dir });
}

#[test]
fn an_unknown_key_names_the_nearest_known_one() {
    let error = merged(&[], "summaryWindowSecond: 5\n")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("summaryWindowSeconds") && error.contains("edge-agent.yaml"),
        "{error}"
    );
    let nested = merged(&[], "mqtt: {broker: a, sources: [], clientID: x}\n").unwrap_err();
    assert!(nested.to_string().contains("clientId"), "{nested}");
}

#[test]
fn windows_outside_the_bounds_and_misplaced_trust_keys_are_refused() {
    for flags in [
        ["--summary-window", "0s"],
        ["--summary-window", "2h"],
        ["--trust-key", "k"],
    ] {
        let error = merged(&flags, "").unwrap_err();
        assert!(error.to_string().contains(flags[0]), "{error}");
    }
    assert_eq!(
        arguments::duration("1500ms"),
        Ok(Duration::from_millis(1500))
    );
    assert!(arguments::duration("5 parsecs").is_err());
}

#[test]
fn storage_has_a_floor_and_a_default() {
    let limits = |file| merged(&[], file).map(|config| config.storage);
    assert_eq!(limits("").unwrap(), OutboxLimits::default());
    let set = limits("storage: {quotaMib: 16, writtenMibPerDay: 32}").unwrap();
    assert_eq!(set.quota_bytes, 16 * 1024 * 1024);
    assert_eq!(set.written_per_day_max_bytes, Some(32 * 1024 * 1024));
    let small = limits("storage: {quotaMib: 7}").unwrap_err().to_string();
    assert_eq!(small, "storage.quotaMib is 7; it must be at least 8");
}

#[test]
fn the_way_to_the_cloud_is_read_and_a_password_in_it_is_not_shown() {
    let cloud = "cloud:
  transport: websocket
  proxy: http://press:s3cret@proxy.plant:3128
  probeQuic: {firstSeconds: 2, longestSeconds: 1}
";
    let config = merged(&["--websocket", "c:4"], cloud).unwrap();
    assert_eq!(config.cloud.transport, Transports::Websocket);
    assert_eq!(config.cloud.websocket.as_deref(), Some("c:4"));
    let proxy = config.connector.proxy_for("c", 4).map(ToString::to_string);
    assert_eq!(proxy.as_deref(), Some("proxy.plant:3128"));
    assert!(!format!("{config:?}").contains("s3cret"));
    let probing = config.cloud.probe_quic.resolved();
    assert_eq!((probing.first_ms, probing.longest_ms), (2_000, 2_000));
    for (wrong, field) in [
        ("cloud: {probeQuic: {firstSeconds: 0}}", "firstSeconds"),
        (
            "cloud: {probeQuic: {longestSeconds: 86401}}",
            "longestSeconds",
        ),
        ("cloud: {transport: udp}", "transport"),
        ("cloud: {proxy: 'socks5://press:s3cret@p:1'}", "http://"),
        ("cloud: {proxy: 'http://press:s3cret@p:x'}", "HOST:PORT"),
    ] {
        let error = merged(&[], wrong).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains(field) && !text.contains("s3cret"), "{text}");
    }
}

#[test]
fn a_page_token_that_is_too_short_is_refused_and_none_is_printed() {
    let config = merged(&[], "page: {token: correct-horse-battery}\n").unwrap();
    assert!(config.page.token.is_some());
    assert!(!format!("{config:?}").contains("horse"));
    let refused = merged(&[], "page: {token: short}\n")
        .unwrap_err()
        .to_string();
    assert!(refused.contains("16 to 256"), "{refused}");
}

#[test]
fn requests_are_taken_from_this_machine_unless_told_otherwise() {
    let usual = merged(&[], "").unwrap().endpoints;
    assert_eq!(usual.grpc, Some("127.0.0.1:8081".parse().unwrap()));
    assert_eq!((usual.socket, usual.socket_mode), (Listen::Usual, 0o660));
    let free = merged(&["--http", "127.0.0.1:0"], "").unwrap().endpoints;
    assert_eq!(free.grpc.map(|address| address.port()), Some(0));
    let file = "grpc: 0.0.0.0:9001\nsocket: {path: /run/a.sock, mode: '0666'}\n";
    let given = merged(&["--socket", "off"], file).unwrap().endpoints;
    assert_eq!(given.grpc, Some("0.0.0.0:9001".parse().unwrap()));
    assert_eq!((given.socket, given.socket_mode), (Listen::Off, 0o666));
    assert_eq!(merged(&["--grpc", "off"], "").unwrap().endpoints.grpc, None);
    for bad in [
        "grpc: here",
        "socket: {path: infer.sock}",
        "socket: {mode: '9'}",
    ] {
        let told = merged(&[], bad).unwrap_err().to_string();
        assert!(told.contains("is"), "{told}");
    }
}

#[test]
fn hard_examples_stay_at_the_box_unless_its_owner_says_otherwise() {
    for (file, permission) in [
        ("", Permission::Denied),
        ("cloud: {pipelines: allowed}", Permission::Denied),
        ("cloud: {hardExamples: denied}", Permission::Denied),
        ("cloud: {hardExamples: allowed}", Permission::Allowed),
    ] {
        let config = merged(&[], file).unwrap();
        assert_eq!(
            config.cloud.hard_examples_permission(),
            permission,
            "{file}"
        );
    }
}
