//! Opens a session: every host in turn, each with and without TLS as `sslmode` permits (PostgreSQL's documentation,
//! "SSL Mode Descriptions"), and with as many of our settings as the server takes.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::config::{
    ChannelBinding, LoadBalanceHosts, SslMode as Encrypted, SslNegotiation, TargetSessionAttrs,
};
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls, Socket};

use super::encrypted::MakeEncrypted;
use super::neutral::{self, Accepted};
use super::parameters::{Host, Parameters, SslMode};
use super::{tls, Session};
use crate::error::{Error, Result};

type Warnings = Arc<Mutex<Vec<String>>>;

/// Connects to the first host that accepts the connection.
pub async fn session(parameters: &Parameters) -> Result<Session> {
    let tls = match parameters.ssl_mode() {
        SslMode::Disable => None,
        _ => Some(tls::connector(parameters)?),
    };
    let limit = parameters.number("connect_timeout")?;
    let mut hosts = parameters.hosts()?;
    if parameters.get("load_balance_hosts") == Some("random") {
        // As good as random: which host comes first differs from process to process.
        let first = std::process::id() as usize % hosts.len();
        hosts.rotate_left(first);
    }
    // With prefer-standby all are asked twice, as libpq does it.
    let wanted: &[Wanted] = match parameters.get("target_session_attrs") {
        Some("primary") => &[Wanted::Primary],
        Some("standby") => &[Wanted::Standby],
        Some("prefer-standby") => &[Wanted::Standby, Wanted::Any],
        _ => &[Wanted::Any],
    };
    let mut last = None;
    for (wanted, host) in wanted
        .iter()
        .flat_map(|wanted| hosts.iter().map(move |host| (wanted, host)))
    {
        let attempt = Attempt {
            parameters,
            tls: tls.as_ref(),
            host,
            wanted: *wanted,
        };
        // libpq's rules: 0 is no limit, and it applies to each host.
        let connected = match limit.filter(|seconds| *seconds > 0) {
            None => attempt.session().await,
            Some(seconds) => {
                let limit = Duration::from_secs(u64::from(seconds));
                let late = |_| {
                    Err(Failure::passing(format!(
                        "could not connect to the {host}: timeout expired"
                    )))
                };
                tokio::time::timeout(limit, attempt.session())
                    .await
                    .unwrap_or_else(late)
            }
        };
        match connected {
            Ok(session) => return Ok(session),
            Err(failure) if failure.is_final => return Err(failure.error),
            Err(failure) => last = Some(failure.error),
        }
    }
    Err(last.expect("there is always a host"))
}

/// Why a host was not it.
struct Failure {
    error: Error,
    /// A server that refuses the login ends the search, as in libpq.
    is_final: bool,
}

impl Failure {
    fn passing(message: String) -> Failure {
        Failure {
            error: Error::Unavailable {
                message,
                hint: String::new(),
            },
            is_final: false,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure {
            error,
            is_final: true,
        }
    }
}

struct Attempt<'a> {
    parameters: &'a Parameters,
    tls: Option<&'a MakeEncrypted>,
    host: &'a Host,
    wanted: Wanted,
}

/// What the server must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Any,
    Primary,
    Standby,
}

impl Attempt<'_> {
    async fn session(&self) -> std::result::Result<Session, Failure> {
        let (password, why_none) = self.parameters.password(self.host);
        let config = self.config(password.as_deref())?;
        let warnings = Warnings::default();
        let (client, accepted) = match self.connect(config, &warnings).await {
            Ok(connected) => connected,
            Err(error) => return Err(self.failure(error, password.is_some(), why_none)),
        };
        neutral::ensure_in_force(&client, accepted).await?;
        let query = "SELECT pg_catalog.current_setting('server_version_num'), pg_catalog.pg_is_in_recovery()";
        let rows = client.query_typed(query, &[]).await.map_err(Error::from)?;
        let (version, is_standby): (&str, bool) = (rows[0].get(0), rows[0].get(1));
        let version = version.parse().unwrap_or(0);
        accepted.keep(&self.server());
        match (self.wanted, is_standby) {
            (Wanted::Primary, true) => {
                return Err(Failure::passing(format!(
                    "the {} is in hot standby mode",
                    self.host
                )))
            }
            (Wanted::Standby, false) => {
                return Err(Failure::passing(format!(
                    "the {} is not in hot standby mode",
                    self.host
                )));
            }
            _ => {}
        }
        Ok(Session {
            host: format!("the {}", self.host),
            version,
            client: Arc::new(client),
            is_utf8: true,
            warnings,
        })
    }

    /// Which server as which user, for [`Accepted`].
    fn server(&self) -> String {
        format!("{} {}", self.parameters.user(), self.host)
    }

    fn config(&self, password: Option<&str>) -> Result<Config> {
        let (parameters, host) = (self.parameters, self.host);
        let invalid = |keyword: &str, value: &str| {
            Error::wrong_use(format!("invalid {keyword} value: \"{value}\""), "")
        };
        let mut config = Config::new();
        config.host(&host.name).user(parameters.user());
        config.dbname(parameters.database());
        config.port(host.port.parse().map_err(|_| invalid("port", &host.port))?);
        if let Some(address) = &host.address {
            config.hostaddr(address.parse().map_err(|_| invalid("hostaddr", address))?);
        }
        if let Some(password) = password {
            config.password(password);
        }
        config.application_name(
            parameters
                .get("application_name")
                .unwrap_or("pg_incrbackup"),
        );
        config.keepalives(parameters.get("keepalives") != Some("0"));
        let seconds = |keyword| {
            let given = parameters.number(keyword)?;
            Ok::<_, Error>(
                given
                    .filter(|s| *s > 0)
                    .map(|s| Duration::from_secs(s.into())),
            )
        };
        if let Some(idle) = seconds("keepalives_idle")? {
            config.keepalives_idle(idle);
        }
        if let Some(interval) = seconds("keepalives_interval")? {
            config.keepalives_interval(interval);
        }
        if let Some(count) = parameters
            .number("keepalives_count")?
            .filter(|count| *count > 0)
        {
            config.keepalives_retries(count);
        }
        if let Some(limit) = parameters
            .number("tcp_user_timeout")?
            .filter(|limit| *limit > 0)
        {
            config.tcp_user_timeout(Duration::from_millis(limit.into()));
        }
        match parameters.get("target_session_attrs") {
            None | Some("any" | "primary" | "standby" | "prefer-standby") => {}
            Some("read-write") => drop(config.target_session_attrs(TargetSessionAttrs::ReadWrite)),
            Some("read-only") => drop(config.target_session_attrs(TargetSessionAttrs::ReadOnly)),
            Some(other) => return Err(invalid("target_session_attrs", other)),
        }
        match parameters.get("channel_binding") {
            None | Some("prefer") => {}
            Some("require") => drop(config.channel_binding(ChannelBinding::Require)),
            Some("disable") => drop(config.channel_binding(ChannelBinding::Disable)),
            Some(other) => return Err(invalid("channel_binding", other)),
        }
        match parameters.get("sslnegotiation") {
            None | Some("postgres") => {}
            Some("direct") if parameters.ssl_mode() >= SslMode::Require => {
                config.ssl_negotiation(SslNegotiation::Direct);
            }
            Some("direct") => {
                let message = "weak sslmode may not be used with sslnegotiation=direct";
                return Err(Error::wrong_use(
                    message,
                    "Use sslmode=require, verify-ca or verify-full.",
                ));
            }
            Some(other) => return Err(invalid("sslnegotiation", other)),
        }
        config.load_balance_hosts(LoadBalanceHosts::Disable);
        Ok(config)
    }

    /// Attempts with and without TLS. On a socket `sslmode` means nothing.
    async fn connect(
        &self,
        mut config: Config,
        warnings: &Warnings,
    ) -> std::result::Result<(Client, Accepted), tokio_postgres::Error> {
        let mode = self.parameters.ssl_mode();
        let attempts: &[Encrypted] = match mode {
            _ if self.host.is_socket() => &[Encrypted::Disable],
            SslMode::Disable => &[Encrypted::Disable],
            SslMode::Allow => &[Encrypted::Disable, Encrypted::Require],
            SslMode::Prefer => &[Encrypted::Prefer, Encrypted::Disable],
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => &[Encrypted::Require],
        };
        let given = self.parameters.get("options").unwrap_or_default();
        let mut accepted = Accepted::at(&self.server());
        let mut attempts = attempts.iter().peekable();
        loop {
            let encrypted = **attempts
                .peek()
                .expect("there is one at first, and after each refusal");
            config.ssl_mode(encrypted);
            config.options(format!("{given}{}", accepted.options()));
            let connected = match self.tls.filter(|_| encrypted != Encrypted::Disable) {
                None => open(&config, NoTls, warnings).await,
                Some(tls) => open(&config, tls.clone(), warnings).await,
            };
            let error = match connected {
                Ok((client, major)) => match accepted.after_session(major) {
                    None => return Ok((client, accepted)),
                    Some(next) => {
                        accepted = next;
                        continue;
                    }
                },
                Err(error) => error,
            };
            if let Some(fewer) = accepted.after(&error) {
                accepted = fewer;
                continue;
            }
            // pg_hba.conf has no line for this connection, or none without TLS.
            let is_refused = error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
            let is_tls = mode == SslMode::Prefer && error.code().is_none();
            attempts.next();
            if !(is_refused || is_tls) || attempts.peek().is_none() {
                return Err(error);
            }
        }
    }

    /// The role does not exist, or may not log in, or pg_hba.conf does not let it in.
    fn hint_of_login(&self) -> String {
        let user = self.parameters.user();
        format!(
            "It tried to log in as role \"{user}\": user=NAME in the connection string, or PGUSER, names another one; \
             the server's pg_hba.conf says who may log in, and how."
        )
    }

    fn failure(
        &self,
        error: tokio_postgres::Error,
        has_password: bool,
        why_none: Option<String>,
    ) -> Failure {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        let host = self.host;
        if !has_password && cause.as_deref() == Some("password missing") {
            let (user, database) = (self.parameters.user(), self.parameters.database());
            let message =
                format!("the {host} asks for a password of \"{user}\", and there is none");
            let mut hint = format!(
                "Write it into ~/.pgpass, with the permissions 0600: a line {}:{}:{database}:{user}:PASSWORD. Or set PGPASSWORD.",
                if host.is_socket() { "localhost" } else { &host.name },
                host.port
            );
            if let Some(why) = why_none {
                hint = format!("{hint} ({why})");
            }
            return Error::failed(message, hint).into();
        }
        if error.code().is_some() {
            let is_final = error.code() != Some(&SqlState::CANNOT_CONNECT_NOW);
            let is_refused = error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
            let mut error = Error::from(error);
            if is_refused && error.hint().is_empty() {
                error = error.with_hint(self.hint_of_login());
            }
            return Failure { error, is_final };
        }
        let cause = cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
        Failure::passing(format!("could not connect to the {host}: {cause}"))
    }
}

/// A session, and the major version of its server.
async fn open<T>(
    config: &Config,
    tls: T,
    warnings: &Warnings,
) -> std::result::Result<(Client, u32), tokio_postgres::Error>
where
    T: tokio_postgres::tls::MakeTlsConnect<Socket>,
    T::Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (client, connection) = config.connect(tls).await?;
    // Reported with every session's start: "17.2 (Debian …)", "18beta1".
    let version = connection.parameter("server_version").unwrap_or_default();
    let digits = version.find(|it: char| !it.is_ascii_digit());
    let major = version[..digits.unwrap_or(version.len())].parse();
    tokio::spawn(drive(connection, Arc::clone(warnings)));
    Ok((client, major.unwrap_or(0)))
}

/// Carries the session's messages until it ends, and collects its warnings.
async fn drive<S>(mut connection: Connection<Socket, S>, warnings: Warnings)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
        if let AsyncMessage::Notice(notice) = message {
            let mut noted = warnings.lock().expect("nobody panics with it");
            noted.push(format!("{}: {}", notice.severity(), notice.message()));
        }
    }
}
