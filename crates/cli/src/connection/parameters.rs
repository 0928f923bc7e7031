//! The parameters of a connection: from the connection string, a service, the environment, and libpq's defaults, in this
//! order (PostgreSQL's documentation, "Parameter Key Words" and "Environment Variables").
//!
//! A parameter that asks for more security than the client can give is refused, never ignored.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::passfile::{self, Wanted};
use super::{conninfo, service};
use crate::error::{Error, Result};

/// libpq's keywords, each with its environment variable.
const KEYWORDS: [(&str, &str); 43] = [
    ("service", "PGSERVICE"),
    ("servicefile", "PGSERVICEFILE"),
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("passfile", "PGPASSFILE"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("dbname", "PGDATABASE"),
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("port", "PGPORT"),
    ("client_encoding", "PGCLIENTENCODING"),
    ("options", "PGOPTIONS"),
    ("application_name", "PGAPPNAME"),
    ("fallback_application_name", ""),
    ("keepalives", ""),
    ("keepalives_idle", ""),
    ("keepalives_interval", ""),
    ("keepalives_count", ""),
    ("tcp_user_timeout", ""),
    ("sslmode", "PGSSLMODE"),
    ("sslnegotiation", "PGSSLNEGOTIATION"),
    ("sslcompression", "PGSSLCOMPRESSION"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("sslcertmode", "PGSSLCERTMODE"),
    ("sslpassword", ""),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcrl", "PGSSLCRL"),
    ("sslcrldir", "PGSSLCRLDIR"),
    ("sslsni", "PGSSLSNI"),
    ("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION"),
    ("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION"),
    ("min_protocol_version", "PGMINPROTOCOLVERSION"),
    ("max_protocol_version", "PGMAXPROTOCOLVERSION"),
    ("requirepeer", "PGREQUIREPEER"),
    ("require_auth", "PGREQUIREAUTH"),
    ("gssencmode", "PGGSSENCMODE"),
    ("krbsrvname", "PGKRBSRVNAME"),
    ("gsslib", "PGGSSLIB"),
    ("gssdelegation", "PGGSSDELEGATION"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
    ("load_balance_hosts", "PGLOADBALANCEHOSTS"),
];

/// What the client does not do, with the values that do not ask for it.
const NOT_DONE: [(&str, &[&str]); 7] = [
    ("sslpassword", &[]),
    ("sslcrl", &[]),
    ("sslcrldir", &[]),
    ("requirepeer", &[]),
    ("require_auth", &[]),
    ("sslcertmode", &["allow", "disable"]),
    ("gssencmode", &["disable", "prefer"]),
];

/// Debian's directory of the socket, and the one that PostgreSQL itself uses.
const SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];

const DEFAULT_PORT: &str = "5432";

/// In the order of what they guarantee.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// Where to connect to, and as whom. Passwords are not shown.
#[derive(Clone)]
pub struct Parameters {
    /// Those that are not empty.
    given: BTreeMap<String, String>,
    home: Option<PathBuf>,
    ssl_mode: SslMode,
}

/// One of the hosts that are tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// A name, an address, or the directory of a socket.
    pub name: String,
    /// The address to be used in place of the name's.
    pub address: Option<String>,
    pub port: String,
}

impl Host {
    /// Whether it is reached by a Unix-domain socket.
    pub fn is_socket(&self) -> bool {
        self.address.is_none() && self.name.starts_with(['/', '@'])
    }
}

/// As libpq names it in messages.
impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let port = &self.port;
        match (self.is_socket(), &self.address) {
            (true, _) => write!(f, "server on socket \"{}/.s.PGSQL.{port}\"", self.name),
            (_, Some(address)) if *address != self.name => {
                write!(f, "server at \"{}\" ({address}), port {port}", self.name)
            }
            _ => write!(f, "server at \"{}\", port {port}", self.name),
        }
    }
}

impl Parameters {
    /// Those of a connection string, and of this process.
    pub fn read(conninfo: &str) -> Result<Parameters> {
        let variable = |name: &str| std::env::var(name).ok();
        let user = || whoami::username().ok();
        Parameters::read_with(conninfo, &variable, std::env::home_dir(), &user)
    }

    fn read_with(
        conninfo: &str,
        variable: &dyn Fn(&str) -> Option<String>,
        home: Option<PathBuf>,
        os_user: &dyn Fn() -> Option<String>,
    ) -> Result<Parameters> {
        let pairs = conninfo::parse(conninfo).map_err(|why| {
            let message = format!("invalid connection string: {why}");
            Error::wrong_use(message, "For example \"host=/tmp dbname=shop\".")
        })?;
        let mut given = BTreeMap::new();
        for (keyword, value) in pairs {
            ensure_known(&keyword)?;
            given.insert(keyword, value);
        }
        let of = |keyword: &str, given: &BTreeMap<String, String>| {
            let name = KEYWORDS.iter().find(|(known, _)| *known == keyword)?.1;
            let from_environment = || variable(name).filter(|_| !name.is_empty());
            given.get(keyword).cloned().or_else(from_environment)
        };
        if let Some(name) = of("service", &given).filter(|name| !name.is_empty()) {
            let own = of("servicefile", &given).map(PathBuf::from);
            let own = own.or_else(|| Some(home.as_ref()?.join(".pg_service.conf")));
            let directory = variable("PGSYSCONFDIR").unwrap_or("/etc/postgresql-common".to_owned());
            let system = PathBuf::from(directory).join("pg_service.conf");
            let files: Vec<PathBuf> = own.into_iter().chain([system]).collect();
            let found = service::look_up(&name, &files);
            for (keyword, value) in found.map_err(|why| Error::wrong_use(why, ""))? {
                ensure_known(&keyword)?;
                given.entry(keyword).or_insert(value);
            }
        }
        for (keyword, _) in KEYWORDS {
            if let Some(value) = of(keyword, &given) {
                given.insert(keyword.to_owned(), value);
            }
        }
        given.retain(|_, value| !value.is_empty());
        if !given.contains_key("user") {
            let user = os_user().ok_or_else(|| {
                Error::failed(
                    "the operating system has no name for this user",
                    "Give user=….",
                )
            })?;
            given.insert("user".to_owned(), user);
        }
        let database = given["user"].clone();
        given.entry("dbname".to_owned()).or_insert(database);
        let ssl_mode = ssl_mode(&given)?;
        let parameters = Parameters {
            given,
            home,
            ssl_mode,
        };
        parameters.ensure_done()?;
        Ok(parameters)
    }

    /// The value of a keyword, if it is not empty.
    pub fn get(&self, keyword: &str) -> Option<&str> {
        self.given.get(keyword).map(String::as_str)
    }

    /// As whom.
    pub fn user(&self) -> &str {
        &self.given["user"]
    }

    /// The name of the database.
    pub fn database(&self) -> &str {
        &self.given["dbname"]
    }

    /// Another database of the same servers.
    pub fn with_database(mut self, name: &str) -> Parameters {
        self.given.insert("dbname".to_owned(), name.to_owned());
        self
    }

    pub fn ssl_mode(&self) -> SslMode {
        self.ssl_mode
    }

    /// A file that a parameter names, or that has a name in `~/.postgresql`.
    pub fn ssl_file(&self, keyword: &str, name: &str) -> Option<PathBuf> {
        let own = || Some(self.home.as_ref()?.join(".postgresql").join(name));
        self.get(keyword).map(PathBuf::from).or_else(own)
    }

    /// A number, by which libpq means a non-negative one in most places; `None` if it is not given.
    pub fn number(&self, keyword: &str) -> Result<Option<u32>> {
        let Some(value) = self.get(keyword) else {
            return Ok(None);
        };
        let number: i64 = value.trim().parse().map_err(|_| {
            let message =
                format!("invalid integer value \"{value}\" for connection option \"{keyword}\"");
            Error::wrong_use(message, "")
        })?;
        Ok(Some(u32::try_from(number).unwrap_or(0)))
    }

    /// Every host, in the order in which they are tried.
    pub fn hosts(&self) -> Result<Vec<Host>> {
        let list = |keyword| {
            self.get(keyword)
                .map(|value| value.split(',').collect::<Vec<&str>>())
        };
        let (names, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
        let count = addresses.as_ref().or(names.as_ref()).map_or(1, Vec::len);
        let wrong = |what: &str, got: usize| {
            Error::wrong_use(format!("could not match {got} {what} to {count} hosts"), "")
        };
        if let Some(names) = names.as_ref().filter(|names| names.len() != count) {
            return Err(wrong("host names", names.len()));
        }
        if let Some(ports) = ports
            .as_ref()
            .filter(|ports| ports.len() > 1 && ports.len() != count)
        {
            return Err(wrong("port numbers", ports.len()));
        }
        let at = |list: &Option<Vec<&str>>, place: usize| {
            let list = list.as_ref()?;
            let value = list
                .get(place)
                .or(list.first().filter(|_| list.len() == 1))?;
            Some((*value).to_owned()).filter(|value| !value.is_empty())
        };
        let host = |place| {
            let port = at(&ports, place).unwrap_or(DEFAULT_PORT.to_owned());
            let address = at(&addresses, place);
            let name = at(&names, place).or(address.clone());
            Host {
                name: name.unwrap_or_else(|| socket_directory(&port).to_owned()),
                address,
                port,
            }
        };
        Ok((0..count).map(host).collect())
    }

    /// The password for a host. The second is why a password file was not used.
    pub fn password(&self, host: &Host) -> (Option<String>, Option<String>) {
        if let Some(password) = self.get("password") {
            return (Some(password.to_owned()), None);
        }
        let own = || Some(self.home.as_ref()?.join(".pgpass"));
        let Some(path) = self.get("passfile").map(PathBuf::from).or_else(own) else {
            return (None, None);
        };
        let is_default = host.is_socket() && SOCKET_DIRECTORIES.contains(&host.name.as_str());
        let wanted = Wanted {
            host: if is_default { "localhost" } else { &host.name },
            port: &host.port,
            database: self.database(),
            user: self.user(),
        };
        match passfile::look_up(&path, &wanted) {
            Ok(password) => (password, None),
            Err(why) => (None, Some(why)),
        }
    }

    fn ensure_done(&self) -> Result<()> {
        for (keyword, harmless) in NOT_DONE {
            if let Some(value) = self.get(keyword).filter(|value| !harmless.contains(value)) {
                let message = format!("the connection parameter {keyword} = \"{value}\" is not supported by this program");
                return Err(Error::wrong_use(
                    message,
                    "Without it the connection would be less secure than asked.",
                ));
            }
        }
        Ok(())
    }
}

fn ensure_known(keyword: &str) -> Result<()> {
    if KEYWORDS.iter().any(|(known, _)| *known == keyword) {
        return Ok(());
    }
    let message = format!("invalid connection option \"{keyword}\"");
    Err(Error::wrong_use(
        message,
        "The options are those of libpq, as PostgreSQL's documentation lists them.",
    ))
}

fn ssl_mode(given: &BTreeMap<String, String>) -> Result<SslMode> {
    let is_system = given
        .get("sslrootcert")
        .is_some_and(|file| file == "system");
    // libpq's default where the system's certificates are trusted: anybody can have one.
    let default = if is_system { "verify-full" } else { "prefer" };
    let mode = match given.get("sslmode").map_or(default, String::as_str) {
        "disable" => SslMode::Disable,
        "allow" => SslMode::Allow,
        "prefer" => SslMode::Prefer,
        "require" => SslMode::Require,
        "verify-ca" => SslMode::VerifyCa,
        "verify-full" => SslMode::VerifyFull,
        other => {
            let hint = "disable, allow, prefer, require, verify-ca or verify-full.";
            return Err(Error::wrong_use(
                format!("invalid sslmode value: \"{other}\""),
                hint,
            ));
        }
    };
    if is_system && mode != SslMode::VerifyFull {
        let message = "weak sslmode may not be used with sslrootcert=system";
        return Err(Error::wrong_use(message, "Use sslmode=verify-full."));
    }
    Ok(mode)
}

/// The first of the usual directories in which a server has its socket.
fn socket_directory(port: &str) -> &'static str {
    let has_socket = |directory: &&str| {
        PathBuf::from(directory)
            .join(format!(".s.PGSQL.{port}"))
            .exists()
    };
    let found = SOCKET_DIRECTORIES.into_iter().find(has_socket);
    found.unwrap_or(SOCKET_DIRECTORIES[0])
}

#[cfg(test)]
#[path = "parameters_tests.rs"]
mod tests;
