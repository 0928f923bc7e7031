//! A cluster: created, started, stopped, crashed, removed.

use crate::installation::{give_to_server_user, run, Installation};
use crate::{panics, template};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// The default database of tests.
const DATABASE: &str = "app";

/// Every cluster has a socket directory of its own, so all of them use the same port number.
pub(crate) const PORT: u16 = 5432;

/// A running PostgreSQL cluster with its archive directory. Dropping it removes both.
pub struct Cluster {
    pub(crate) installation: Installation,
    database: String,
    root: PathBuf,
    is_kept: bool,
    pub(crate) restores: AtomicU32,
    is_kept_on_failure: AtomicBool,
    pub(crate) environment: Vec<(String, String)>,
}

/// Differences from the default cluster.
pub struct Builder {
    pub(crate) installation: Installation,
    database: String,
    encoding: String,
    locale: Option<String>,
    settings: BTreeMap<String, String>,
    environment: Vec<(String, String)>,
    own_initdb: bool,
}

impl Builder {
    pub fn installation(&self) -> &Installation {
        &self.installation
    }

    /// Another PostgreSQL version than the one under test.
    pub fn version(mut self, version: u32) -> Self {
        self.installation = Installation::of(version);
        self
    }

    /// The encoding of the cluster's databases; the locale is then C.
    pub fn encoding(mut self, encoding: &str) -> Self {
        self.encoding = encoding.into();
        self
    }

    /// Another locale than the default for the encoding.
    pub fn locale(mut self, locale: &str) -> Self {
        self.locale = Some(locale.into());
        self
    }

    /// Another name for the test's database.
    pub fn database(mut self, name: &str) -> Self {
        self.database = name.into();
        self
    }

    /// A line of postgresql.conf, with the value as written there (quoted if necessary).
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.insert(name.into(), value.into());
        self
    }

    /// Omits a default line of postgresql.conf.
    pub fn without(mut self, name: &str) -> Self {
        self.settings.remove(name);
        self
    }

    /// A variable of the server's environment.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// A system identifier of its own. Other clusters are copies of one template and have the same one.
    pub fn own_system_identifier(mut self) -> Self {
        self.own_initdb = true;
        self
    }

    /// Starts the cluster, with an empty database, but without the extension.
    pub fn start(self) -> Cluster {
        let has_database = self.has_template() && self.database == DATABASE;
        let cluster = self.create_from(has_database);
        cluster.start();
        if has_database {
            return cluster;
        }
        let name = cluster.database.replace('"', "\"\"");
        cluster.sql_in("postgres", &format!("CREATE DATABASE \"{name}\""));
        cluster
    }

    /// Starts the cluster with the extension and runs `incr_setup()`: everything from then on is backed up.
    pub fn back_up(self) -> Cluster {
        let cluster = self.start();
        cluster.sql("CREATE EXTENSION pg_incrbackup; SELECT * FROM incr_setup()");
        cluster
    }

    /// Creates the data directory without starting the server.
    pub fn create(self) -> Cluster {
        self.create_from(false)
    }

    /// There is a template for the default locale only.
    fn has_template(&self) -> bool {
        !self.own_initdb && self.locale.is_none()
    }

    fn create_from(self, has_database: bool) -> Cluster {
        panics::tell();
        let root = new_root();
        let data = root.join("data");
        if self.has_template() {
            let database = has_database.then_some(DATABASE);
            template::copy(&self.installation, &self.encoding, database, &data);
        } else {
            let locale = self.locale.as_deref();
            template::init_db(&self.installation, &self.encoding, locale, &data);
        }
        let archive = root.join("archive");
        let mut settings = self.settings;
        settings
            .entry("pg_incrbackup.directory".into())
            .or_insert_with(|| format!("'{}'", archive.display()));
        settings.insert(
            "unix_socket_directories".into(),
            format!("'{}'", root.display()),
        );
        if !settings.contains_key("shared_preload_libraries") {
            settings.retain(|name, _| !name.starts_with("pg_incrbackup."));
        }
        let lines = settings
            .iter()
            .map(|(name, value)| format!("{name} = {value}\n"));
        let conf = data.join("postgresql.conf");
        fs::write(&conf, lines.collect::<String>()).expect("postgresql.conf can be written");
        give_to_server_user(&conf);
        Cluster {
            installation: self.installation,
            database: self.database,
            root,
            is_kept: std::env::var_os("KEEP").is_some(),
            restores: AtomicU32::new(0),
            is_kept_on_failure: AtomicBool::new(false),
            environment: self.environment,
        }
    }
}

impl Cluster {
    /// A builder with the settings that the README requires and without delays.
    pub fn builder() -> Builder {
        let usual = [
            ("listen_addresses", "''"),
            ("port", &PORT.to_string()),
            // A test only crashes processes, which the page cache survives.
            ("fsync", "off"),
            // Memory for what is written only.
            ("wal_init_zero", "off"),
            ("wal_level", "logical"),
            ("max_wal_senders", "10"),
            ("max_replication_slots", "10"),
            ("max_worker_processes", "16"),
            ("max_prepared_transactions", "4"),
            ("shared_buffers", "32MB"),
            ("log_line_prefix", "'%m [%p] %b '"),
            ("log_checkpoints", "off"),
            ("shared_preload_libraries", "'pg_incrbackup'"),
            ("pg_incrbackup.base_schedule", "''"),
            // Tests read the files.
            ("pg_incrbackup.compression", "none"),
            ("pg_incrbackup.base_format", "plain"),
            ("pg_incrbackup.base_spread", "0"),
            // Nobody misses the backup of what they restore.
            ("pg_incrbackup.databases", "'!restored*'"),
        ];
        Builder {
            installation: Installation::under_test(),
            database: DATABASE.into(),
            encoding: "UTF8".into(),
            locale: None,
            settings: usual
                .map(|(name, value)| (name.into(), value.into()))
                .into(),
            environment: Vec::new(),
            own_initdb: false,
        }
    }

    /// A cluster that a program run with `KEEP=1` left behind, started again (also for inspection: it must
    /// load the current library). It is kept.
    pub fn kept(root: &Path, database: &str) -> Self {
        let cluster = Self {
            installation: Installation::under_test(),
            database: database.into(),
            root: root.into(),
            is_kept: true,
            restores: AtomicU32::new(0),
            is_kept_on_failure: AtomicBool::new(false),
            environment: Vec::new(),
        };
        cluster.stop_by(Signal::INT).ok();
        cluster.start();
        cluster
    }

    /// A server that somebody else starts and stops, in a directory that is there.
    pub(crate) fn below(installation: &Installation, root: &Path) -> Self {
        Self {
            installation: installation.clone(),
            database: DATABASE.into(),
            root: root.into(),
            is_kept: std::env::var_os("KEEP").is_some(),
            restores: AtomicU32::new(0),
            is_kept_on_failure: AtomicBool::new(false),
            environment: Vec::new(),
        }
    }

    /// A cluster whose database is backed up from the first statement on.
    pub fn backed_up() -> Self {
        Self::builder().back_up()
    }

    /// Whether the cluster's files are kept.
    pub fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Removes the cluster, whatever `KEEP` says.
    pub fn discard(mut self) {
        self.is_kept = false;
    }

    pub fn installation(&self) -> &Installation {
        &self.installation
    }

    pub fn version(&self) -> u32 {
        self.installation.version
    }

    /// The name of the test's database.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// How to connect to a database of this cluster as its superuser.
    pub fn conninfo(&self, database: &str) -> String {
        let root = self.root.display();
        format!(
            "host={root} port={PORT} user=postgres dbname='{}'",
            database.replace('\\', "\\\\").replace('\'', "\\'")
        )
    }

    /// The file that the server listens on while it runs.
    pub fn socket(&self) -> PathBuf {
        self.root.join(format!(".s.PGSQL.{PORT}"))
    }

    /// The temporary directory that holds the cluster; the server's user may write into it.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn data_directory(&self) -> PathBuf {
        self.root.join("data")
    }

    /// `pg_incrbackup.directory` unless a test set another.
    pub fn archive_directory(&self) -> PathBuf {
        self.root.join("archive")
    }

    /// The complete server log.
    pub fn log(&self) -> String {
        let log = fs::read(self.root.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    pub fn start(&self) {
        if let Err(log) = self.try_start() {
            panic!("the server does not start:\n{log}");
        }
    }

    /// A clean stop, as `pg_ctl stop -m fast`.
    pub fn stop(&self) {
        self.must_stop_by(Signal::INT);
    }

    /// Stops the server as in a crash: no checkpoint, as `pg_ctl stop -m immediate`.
    pub fn crash(&self) {
        self.must_stop_by(Signal::QUIT);
    }

    fn must_stop_by(&self, signal: Signal) {
        if let Err(reason) = self.stop_by(signal) {
            panic!(
                "the server does not stop: {reason}\n{}",
                self.end_of_log(30)
            );
        }
    }

    pub fn restart(&self) {
        self.stop();
        self.start();
    }

    /// Stops the server and tries to start it with settings that may be invalid.
    pub fn stop_and_try_start(&self) -> Result<(), String> {
        self.stop();
        self.try_start()
    }

    /// Keeps the cluster's files if the test fails, as `KEEP=1` always does.
    pub fn keep_if_it_fails(&self) {
        self.is_kept_on_failure.store(true, Ordering::Relaxed);
    }

    /// SIGKILL for one process of this cluster.
    pub fn kill(&self, pid: &str) {
        run(Command::new("kill").args(["-9", pid]));
    }

    /// Sends a signal, such as STOP, to a process.
    pub fn signal(&self, pid: &str, signal: &str) {
        run(Command::new("kill").args([&format!("-{signal}"), pid]));
    }

    /// Creates the empty directory of the archive, which an automatic setup does not create.
    pub fn make_archive_directory(&self) {
        let directory = self.archive_directory();
        fs::create_dir(&directory).expect("the archive's directory can be created");
        give_to_server_user(&directory);
    }

    /// Appends a line to postgresql.conf and reloads it.
    pub fn set(&self, name: &str, value: &str) {
        self.write_setting(name, value);
        self.sql_in("postgres", "SELECT pg_reload_conf()");
    }

    /// Appends a line to postgresql.conf; for settings that a restart must read.
    ///
    /// By rename: the server may just be reloading the file, and a truncated one would reset every setting of
    /// this cluster.
    pub fn write_setting(&self, name: &str, value: &str) {
        let conf = self.data_directory().join("postgresql.conf");
        let mut text = fs::read_to_string(&conf).expect("postgresql.conf can be read");
        text.push_str(&format!("{name} = {value}\n"));
        let whole = conf.with_extension("conf.new");
        fs::write(&whole, text).expect("postgresql.conf can be written");
        give_to_server_user(&whole);
        fs::rename(whole, conf).expect("postgresql.conf can be replaced");
    }

    /// Waits until the database accepts connections again, after a crash that restarts the server.
    pub fn wait_for_connections(&self) {
        crate::wait_until("the server takes connections and writes", || {
            self.is_true("SELECT NOT pg_is_in_recovery()")
        });
    }

    pub(crate) fn end_of_log(&self, lines: usize) -> String {
        last_lines(&self.log(), lines)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop_by(Signal::QUIT).ok();
        if std::thread::panicking() {
            eprintln!("--- the end of the server's log:\n{}", self.end_of_log(40));
        }
        let is_kept = self.is_kept
            || std::thread::panicking() && self.is_kept_on_failure.load(Ordering::Relaxed);
        if is_kept {
            eprintln!("--- kept: {}", self.root.display());
        } else {
            fs::remove_dir_all(&self.root).ok();
        }
    }
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// A new directory with a short path: a socket's path may not exceed 107 bytes.
pub(crate) fn new_root() -> PathBuf {
    let root = tempfile::Builder::new().prefix("pgincr-").tempdir();
    let root = root.expect("a temporary directory can be made").keep();
    give_to_server_user(&root);
    root
}

impl Cluster {
    /// A database name that no restore of this cluster has used yet.
    pub(crate) fn next_restore_name(&self) -> String {
        format!(
            "restored_{}",
            self.restores.fetch_add(1, Ordering::Relaxed) + 1
        )
    }
}
