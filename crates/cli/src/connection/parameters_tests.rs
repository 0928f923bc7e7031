use super::*;

fn with(conninfo: &str, environment: &[(&str, &str)]) -> Result<Parameters> {
    let variable = |name: &str| {
        let found = environment.iter().find(|(known, _)| *known == name)?;
        Some(found.1.to_owned())
    };
    Parameters::read_with(conninfo, &variable, Some("/nowhere".into()), &|| {
        Some("bob".to_owned())
    })
}

fn message(conninfo: &str) -> String {
    match with(conninfo, &[]) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_string_precedes_the_environment_which_precedes_the_defaults() {
    let environment = [
        ("PGHOST", "envhost"),
        ("PGPORT", "6000"),
        ("PGUSER", "alice"),
    ];
    let parameters = with("host=here", &environment).expect("valid");
    let hosts = parameters.hosts().expect("one");
    assert_eq!(
        (hosts[0].name.as_str(), hosts[0].port.as_str()),
        ("here", "6000")
    );
    // The database of the user's name, whoever named the user.
    assert_eq!(
        (parameters.user(), parameters.database()),
        ("alice", "alice")
    );
    let parameters = with("", &[]).expect("valid");
    assert_eq!((parameters.user(), parameters.database()), ("bob", "bob"));
    assert!(parameters.hosts().expect("one")[0].is_socket());
    assert_eq!(parameters.with_database("x").database(), "x");
}

#[test]
fn several_hosts_have_their_ports_and_addresses() {
    let parameters = with("host=a,b hostaddr=10.0.0.1,10.0.0.2 port=1,2", &[]).expect("valid");
    let hosts = parameters.hosts().expect("two");
    assert_eq!(hosts[1].to_string(), "server at \"b\" (10.0.0.2), port 2");
    let hosts = with("host=a,/tmp port=7", &[])
        .expect("valid")
        .hosts()
        .expect("two");
    assert_eq!(hosts[1].to_string(), "server on socket \"/tmp/.s.PGSQL.7\"");
    assert_eq!(hosts[0].port, "7");
    for wrong in ["host=a,b,c port=1,2", "host=a,b hostaddr=10.0.0.1"] {
        assert!(
            with(wrong, &[]).expect("valid words").hosts().is_err(),
            "{wrong}"
        );
    }
    let only_address = with("hostaddr=::1", &[])
        .expect("valid")
        .hosts()
        .expect("one");
    assert_eq!(only_address[0].name, "::1");
}

#[test]
fn what_would_be_less_secure_than_asked_is_refused() {
    assert!(message("require_auth=scram-sha-256").contains("require_auth"));
    assert!(message("requirepeer=postgres").contains("requirepeer"));
    assert!(message("gssencmode=require").contains("gssencmode"));
    assert!(message("sslcrl=/x").contains("sslcrl"));
    assert_eq!(message("gssencmode=disable"), "");
    assert!(message("sslmode=allowed").contains("sslmode"));
    assert!(message("sslrootcert=system sslmode=require").contains("weak sslmode"));
    let system = with("sslrootcert=system", &[]).expect("valid");
    assert_eq!(system.ssl_mode(), SslMode::VerifyFull);
    assert_eq!(with("", &[]).expect("valid").ssl_mode(), SslMode::Prefer);
    let refused = with("", &[("PGREQUIREAUTH", "scram-sha-256")]);
    assert!(refused.is_err());
    assert!(message("hots=x").contains("invalid connection option \"hots\""));
}

#[test]
fn a_service_fills_what_the_string_leaves_open() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("services");
    std::fs::write(&file, "[s]\nhost=of_service\nport=9\nuser=carol\n").expect("writable");
    let file = file.display().to_string();
    let environment = [
        ("PGSERVICEFILE", file.as_str()),
        ("PGSERVICE", "s"),
        ("PGPORT", "8"),
    ];
    let parameters = with("user=dave", &environment).expect("valid");
    assert_eq!(parameters.user(), "dave");
    assert_eq!(
        parameters.hosts().expect("one")[0].to_string(),
        "server at \"of_service\", port 9"
    );
    assert!(with("service=none", &environment).is_err());
}

#[test]
fn a_password_comes_from_the_string_or_its_file() {
    let parameters = with("password=p", &[]).expect("valid");
    let host = &parameters.hosts().expect("one")[0];
    assert_eq!(parameters.password(host), (Some("p".to_owned()), None));
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("pgpass");
    std::fs::write(&file, "localhost:5432:*:bob:of the file\n").expect("writable");
    let conninfo = format!("host=/tmp passfile='{}'", file.display());
    let parameters = with(&conninfo, &[]).expect("valid");
    let host = &parameters.hosts().expect("one")[0];
    use std::os::unix::fs::PermissionsExt;
    let set = |mode| {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("ours")
    };
    set(0o600);
    assert_eq!(
        parameters.password(host),
        (Some("of the file".to_owned()), None)
    );
    set(0o644);
    assert!(matches!(parameters.password(host), (None, Some(_))));
}
