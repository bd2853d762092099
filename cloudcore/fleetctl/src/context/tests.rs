use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn access(cloud: &str) -> Access {
    Access {
        cloud: cloud.to_owned(),
        ca_pin: format!("sha256:{}", "0".repeat(64)),
        token: ApiToken::new(" secret\n"),
    }
}

fn environment(path: &Path) -> Environment {
    Environment {
        config: Some(path.to_owned()),
        ..Environment::default()
    }
}

#[test]
fn a_saved_context_is_the_current_one_and_private() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sub/fleetctl.yaml");
    save(&path, "plant", access("https://a:8443")).unwrap();
    save(&path, "lab", access("https://b:8443")).unwrap();
    let environment = environment(&path);
    assert_eq!(environment.access(None).unwrap(), access("https://b:8443"));
    assert_eq!(
        environment.access(Some("plant")).unwrap(),
        access("https://a:8443")
    );
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn the_environment_overrides_the_context_part_by_part() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fleetctl.yaml");
    save(&path, "plant", access("https://a:8443")).unwrap();
    let mut environment = environment(&path);
    environment.token = Some(ApiToken::new("other"));
    let found = environment.access(None).unwrap();
    assert_eq!(
        (found.cloud.as_str(), found.token.expose()),
        ("https://a:8443", "other")
    );
}

#[test]
fn without_a_login_the_error_says_how_to_log_in() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fleetctl.yaml");
    let error = environment(&path).access(None).unwrap_err().to_string();
    assert!(error.contains("fleetctl login --cloud"), "{error}");
    save(&path, "plant", access("https://a:8443")).unwrap();
    let error = environment(&path)
        .access(Some("plent"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`plent`") && error.contains("plant"),
        "{error}"
    );
}

#[test]
fn a_context_file_with_an_unknown_key_is_refused_and_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fleetctl.yaml");
    fs::write(&path, "currentContxt: a\n").unwrap();
    let error = save(&path, "plant", access("https://a:8443"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("currentContxt") && error.contains("currentContext"),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), "currentContxt: a\n");
}

#[test]
fn a_token_is_never_printed() {
    assert!(!format!("{:?}", access("https://a:8443")).contains("secret"));
}
