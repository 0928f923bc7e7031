//! "psql connects, your program does not", or connects where it should not.

use harness::{give_to_server_user, program_command, run, skipped, Cluster};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

/// What `info --from` says about a connection string, with these variables.
fn info(conninfo: &str, environment: &[(&str, &str)]) -> Output {
    let mut command = program_command();
    command.envs(environment.iter().copied());
    let output = command.args(["info", "--from", conninfo]).output();
    output.expect("the program can be run")
}

fn assert_connects(conninfo: &str, environment: &[(&str, &str)]) {
    let output = info(conninfo, environment);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{conninfo} {environment:?}: {text}"
    );
}

/// What it is refused with.
fn refusal(conninfo: &str, environment: &[(&str, &str)]) -> String {
    let output = info(conninfo, environment);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        matches!(output.status.code(), Some(1 | 2)),
        "{conninfo} {environment:?}: {text}"
    );
    text
}

/// An address of this machine that no other cluster listens on: all of them use the same port.
fn own_address(test: u8) -> String {
    let process = std::process::id();
    format!(
        "127.{}.{}.{test}",
        process / 250 % 250 + 1,
        process % 250 + 1
    )
}

fn hba(c: &Cluster, lines: &str) {
    let file = c.data_directory().join("pg_hba.conf");
    fs::write(&file, format!("local all postgres trust\n{lines}\n"))
        .expect("pg_hba.conf can be written");
    give_to_server_user(&file);
    c.sql_in("postgres", "SELECT pg_reload_conf()");
}

#[test]
fn whatever_names_a_server_for_psql_names_it_here() {
    let c = Cluster::backed_up();
    let root = c.root().display().to_string();
    let conninfo = format!("host={root} user=postgres dbname=app");
    assert_connects(&conninfo, &[]);
    let encoded = root.replace('/', "%2F");
    assert_connects(&format!("postgresql://postgres@{encoded}/app"), &[]);
    assert_connects(&format!("postgresql:///app?host={root}&user=postgres"), &[]);
    let environment = [
        ("PGHOST", root.as_str()),
        ("PGUSER", "postgres"),
        ("PGDATABASE", "app"),
    ];
    assert_connects("", &environment);
    assert_connects("app", &environment[..2]);
    assert_connects("dbname='app' application_name=\\'x\\'", &environment[..2]);
    let services = c.root().join("services");
    fs::write(
        &services,
        format!("[shop]\nhost={root}\nuser=postgres\ndbname=app\n"),
    )
    .expect("writable");
    let services = services.display().to_string();
    assert_connects("service=shop", &[("PGSERVICEFILE", &services)]);
    // A host that does not answer is followed by one that does.
    assert_connects(
        &format!("host=/nonexistent,{root} user=postgres dbname=app"),
        &[],
    );
    assert_connects(&format!("{conninfo} target_session_attrs=primary"), &[]);
    // There is none.
    let preferring = format!("{conninfo} target_session_attrs=prefer-standby");
    assert_connects(&preferring, &[]);
    assert!(
        refusal(&format!("{conninfo} target_session_attrs=standby"), &[]).contains("hot standby")
    );
    let text = refusal("host=/nonexistent dbname=app", &[]);
    assert!(
        text.contains("server on socket \"/nonexistent/.s.PGSQL.5432\""),
        "{text}"
    );
    assert!(refusal(&format!("host={root} user=postgres dbname=nothing"), &[]).contains("3D000"));
    assert!(refusal("hots=x", &[]).contains("invalid connection option \"hots\""));
    let output = info("host='", &[]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn settings_of_others_do_not_reach_a_session_and_options_that_would_are_refused() {
    let c = Cluster::backed_up();
    c.sql("CREATE ROLE plain LOGIN; GRANT EXECUTE ON FUNCTION public.incr_read TO plain");
    c.sql(
        "CREATE SCHEMA evil; ALTER DATABASE app SET search_path = evil, pg_catalog;
         ALTER ROLE postgres SET statement_timeout = 1; ALTER DATABASE app SET default_transaction_read_only = on",
    );
    let conninfo = c.conninfo("app");
    assert_connects(&conninfo, &[]);
    assert_connects(
        &conninfo,
        &[("PGOPTIONS", "-c search_path=evil -c geqo=off")],
    );
    // Whatever swallows the beginning of ours is refused, here by the server.
    for options in ["-c application_name=x\\\\", "--"] {
        let text = refusal(&format!("{conninfo} options='{options}'"), &[]);
        assert!(text.contains("invalid"), "{text}");
    }
    // A role without any privilege gets as many of the settings as it may have.
    assert_connects(&conninfo.replace("user=postgres", "user=plain"), &[]);
}

#[test]
fn passwords_come_from_where_libpq_looks() {
    let address = own_address(2);
    let c = Cluster::builder()
        .setting("listen_addresses", &format!("'{address}'"))
        .setting("password_encryption", "'scram-sha-256'")
        .back_up();
    c.sql("CREATE ROLE bob LOGIN SUPERUSER PASSWORD 'sec:ret'");
    hba(&c, "host all bob all scram-sha-256");
    let conninfo = format!("host={address} user=bob dbname=app");
    assert_connects(&format!("{conninfo} password=sec:ret"), &[]);
    assert_connects(&conninfo, &[("PGPASSWORD", "sec:ret")]);
    assert_connects(
        &format!("postgresql://bob:sec%3Aret@{address}:5432/app"),
        &[],
    );
    let text = refusal(&conninfo, &[]);
    assert!(
        text.contains("asks for a password of \"bob\"") && text.contains(".pgpass"),
        "{text}"
    );
    assert!(refusal(&conninfo, &[("PGPASSWORD", "wrong")]).contains("28P01"));
    let file = c.root().join(".pgpass");
    fs::write(&file, format!("{address}:5432:*:bob:sec\\:ret\n")).expect("writable");
    let set = |mode| {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("it can be changed")
    };
    set(0o600);
    let home = c.root().display().to_string();
    assert_connects(&conninfo, &[("HOME", &home)]);
    assert_connects(&conninfo, &[("PGPASSFILE", &file.display().to_string())]);
    set(0o644);
    let text = refusal(&conninfo, &[("HOME", &home)]);
    assert!(text.contains("group or world access"), "{text}");
}

/// Certificates of an authority of the test's own, for this address and a client.
fn certificates(directory: &Path, address: &str) {
    let script = "set -e; cd \"$1\"
        openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=ca -keyout ca.key -out ca.crt
        for name in server client other; do
            openssl req -newkey rsa:2048 -nodes -subj /CN=certified -keyout $name.key -out $name.csr
            case $name in other) san=DNS:elsewhere.example ;; *) san=IP:$2 ;; esac
            printf 'subjectAltName=%s\\n' $san >$name.ext
            openssl x509 -req -in $name.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile $name.ext -out $name.crt
        done
        openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=stranger -keyout stranger.key -out stranger.crt
        chmod 600 *.key";
    run(Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(directory)
        .arg(address));
    give_to_server_user(directory);
}

#[test]
fn sslmode_means_what_it_means_to_libpq() {
    if Command::new("openssl").arg("version").output().is_err() {
        return skipped("there is no openssl to make certificates with");
    }
    let address = own_address(3);
    let c = Cluster::builder()
        .setting("listen_addresses", &format!("'{address}'"))
        .back_up();
    let directory = c.root().join("tls");
    fs::create_dir(&directory).expect("a directory can be made");
    certificates(&directory, &address);
    let file = |name: &str| directory.join(name).display().to_string();
    c.sql("CREATE ROLE plain LOGIN SUPERUSER; CREATE ROLE encrypted LOGIN SUPERUSER; CREATE ROLE certified LOGIN SUPERUSER; CREATE ROLE bound LOGIN SUPERUSER PASSWORD 'secret'");
    let at = |user: &str, more: &str| format!("host={address} user={user} dbname=app {more}");
    hba(&c, "host all plain all trust");
    // Without TLS.
    assert_connects(&at("plain", ""), &[]);
    assert!(refusal(&at("plain", "sslmode=require"), &[]).contains("does not support TLS"));
    if c.try_sql("ALTER SYSTEM SET ssl = on").is_err() {
        return skipped("this PostgreSQL was built without TLS");
    }
    c.write_setting("ssl_cert_file", &format!("'{}'", file("server.crt")));
    c.write_setting("ssl_key_file", &format!("'{}'", file("server.key")));
    c.write_setting("ssl_ca_file", &format!("'{}'", file("ca.crt")));
    hba(
        &c,
        "hostnossl all plain all trust\nhostssl all encrypted all trust\n\
         hostssl all bound all scram-sha-256\nhostssl all certified all cert",
    );
    c.restart();
    let (ca, stranger) = (file("ca.crt"), file("stranger.crt"));
    for mode in ["allow", "prefer", "require"] {
        assert_connects(&at("encrypted", &format!("sslmode={mode}")), &[]);
    }
    assert!(refusal(&at("encrypted", "sslmode=disable"), &[]).contains("no encryption"));
    for mode in ["disable", "allow", "prefer"] {
        assert_connects(&at("plain", &format!("sslmode={mode}")), &[]);
    }
    assert!(refusal(&at("plain", "sslmode=require"), &[]).contains("28000"));
    // Root certificates are used where they are there, and needed where verification was asked for.
    for mode in ["require", "verify-ca", "verify-full"] {
        assert_connects(
            &at("encrypted", &format!("sslmode={mode} sslrootcert={ca}")),
            &[],
        );
        let text = refusal(
            &at(
                "encrypted",
                &format!("sslmode={mode} sslrootcert={stranger}"),
            ),
            &[],
        );
        assert!(text.contains("certificate"), "{mode}: {text}");
    }
    assert_connects(
        &at("encrypted", "sslmode=verify-full"),
        &[("PGSSLROOTCERT", &ca)],
    );
    let text = refusal(&at("encrypted", "sslmode=verify-ca"), &[]);
    assert!(text.contains("no root certificate file"), "{text}");
    assert!(!refusal(&at("encrypted", "sslrootcert=system"), &[]).is_empty());
    assert_connects(&at("bound", "password=secret channel_binding=prefer"), &[]);
    assert_connects(
        &at(
            "bound",
            "password=secret channel_binding=require sslmode=require",
        ),
        &[],
    );
    // The client's certificate; its key must be the owner's alone.
    let (certificate, key) = (file("client.crt"), file("client.key"));
    let own = format!("sslmode=require sslcert={certificate} sslkey={key}");
    assert_connects(&at("certified", &own), &[]);
    assert!(refusal(&at("certified", "sslmode=require"), &[]).contains("certificate"));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("it can be changed");
    assert!(refusal(&at("certified", &own), &[]).contains("group or world access"));
    // A certificate for another host.
    c.write_setting("ssl_cert_file", &format!("'{}'", file("other.crt")));
    c.write_setting("ssl_key_file", &format!("'{}'", file("other.key")));
    c.restart();
    assert_connects(
        &at("encrypted", &format!("sslmode=verify-ca sslrootcert={ca}")),
        &[],
    );
    let text = refusal(
        &at(
            "encrypted",
            &format!("sslmode=verify-full sslrootcert={ca}"),
        ),
        &[],
    );
    assert!(text.contains("certificate not valid for name"), "{text}");
    let system = refusal(&at("encrypted", "sslmode=require sslrootcert=system"), &[]);
    assert!(system.contains("weak sslmode"), "{system}");
}
