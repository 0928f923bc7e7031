//! Connection strings, as libpq parses them.
//!
//! Three forms: `keyword = value …` with its quoting, a URI, or, as for `psql -d`, a database's name alone. The rules are
//! those of PostgreSQL's documentation, "Connection Strings", and of `fe-connect.c`: `conninfo_parse`,
//! `conninfo_uri_parse_options`. Keywords are checked by the caller.

use archive::escape::percent_decode;

/// Keywords with their values, in the order in which they stand there; of several values the last one is valid.
pub type Pairs = Vec<(String, String)>;

/// Parses a connection string; the error names the place.
pub fn parse(text: &str) -> Result<Pairs, String> {
    let uri = ["postgresql://", "postgres://"];
    match uri.iter().find_map(|scheme| text.strip_prefix(scheme)) {
        Some(rest) => parse_uri(rest),
        None if text.contains('=') => parse_keywords(text),
        None if text.trim().is_empty() => Ok(Vec::new()),
        None => Ok(vec![("dbname".to_owned(), text.to_owned())]),
    }
}

fn parse_keywords(text: &str) -> Result<Pairs, String> {
    let mut pairs = Pairs::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c.is_ascii_whitespace());
        let (keyword, after) = rest.split_at(end.unwrap_or(rest.len()));
        let Some(after) = after.trim_start().strip_prefix('=') else {
            return Err(format!("missing \"=\" after \"{keyword}\""));
        };
        if keyword.is_empty() {
            return Err("there is a \"=\" without a keyword before it".to_owned());
        }
        let (value, after) = take_value(after.trim_start())
            .ok_or_else(|| format!("the quoted value of \"{keyword}\" is not terminated"))?;
        pairs.push((keyword.to_owned(), value));
        rest = after.trim_start();
    }
    Ok(pairs)
}

/// A value, quoted or up to white space, with `\` before what is meant literally; `None` without a closing quote.
fn take_value(text: &str) -> Option<(String, &str)> {
    let is_quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut characters = text.char_indices().skip(usize::from(is_quoted));
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, literal)| literal)),
            '\'' if is_quoted => return Some((value, &text[at + 1..])),
            space if !is_quoted && space.is_ascii_whitespace() => {
                return Some((value, &text[at..]))
            }
            other => value.push(other),
        }
    }
    (!is_quoted).then_some((value, ""))
}

/// What follows `postgresql://`: `[user[:password]@][host[:port],…][/database][?keyword=value&…]`.
fn parse_uri(text: &str) -> Result<Pairs, String> {
    let mut pairs = Pairs::new();
    let mut add = |keyword: &str, encoded: &str| -> Result<(), String> {
        if !encoded.is_empty() {
            pairs.push((keyword.to_owned(), decoded(encoded)?));
        }
        Ok(())
    };
    let (place, query) = text.split_once('?').unwrap_or((text, ""));
    let (who, place) = match place.find(['@', '/']) {
        Some(at) if place[at..].starts_with('@') => (&place[..at], &place[at + 1..]),
        _ => ("", place),
    };
    let (user, password) = who.split_once(':').unwrap_or((who, ""));
    add("user", user)?;
    add("password", password)?;
    let (hosts, database) = place.split_once('/').unwrap_or((place, ""));
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for host in hosts.split(',') {
        let (name, port) = host_and_port(host)?;
        names.push(name);
        ports.push(port);
    }
    if names.iter().any(|name| !name.is_empty()) {
        add("host", &names.join(","))?;
    }
    if ports.iter().any(|port| !port.is_empty()) {
        add("port", &ports.join(","))?;
    }
    add("dbname", database)?;
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (keyword, value) = parameter
            .split_once('=')
            .ok_or_else(|| format!("missing \"=\" in the parameter \"{parameter}\" of the URI"))?;
        // JDBC's spelling, which libpq takes too.
        match (decoded(keyword)?.as_str(), value) {
            ("ssl", "true") => add("sslmode", "require")?,
            (keyword, value) => add(keyword, value)?,
        }
    }
    Ok(pairs)
}

fn host_and_port(text: &str) -> Result<(&str, &str), String> {
    let Some(address) = text.strip_prefix('[') else {
        return Ok(text.split_once(':').unwrap_or((text, "")));
    };
    let wrong = || format!("\"{text}\" is not an IPv6 address in brackets");
    let (address, port) = address.split_once(']').ok_or_else(wrong)?;
    match port.strip_prefix(':') {
        None if !port.is_empty() => Err(wrong()),
        port => Ok((address, port.unwrap_or(""))),
    }
}

fn decoded(text: &str) -> Result<String, String> {
    percent_decode(text.as_bytes())
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .filter(|text| !text.contains('\0'))
        .ok_or_else(|| format!("\"{text}\" is not percent-encoded correctly"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<String> {
        let pairs = parse(text).expect("it is a connection string");
        let joined = pairs
            .into_iter()
            .map(|(key, value)| format!("{key}={value}"));
        joined.collect()
    }

    #[test]
    fn keywords_and_values_are_quoted_as_in_the_documentation() {
        let text = "host=localhost port=5432 dbname=mydb connect_timeout=10";
        assert_eq!(parsed(text).join(" "), text);
        assert_eq!(
            parsed("  user = 'a b'\tpassword='it\\'s\\\\'  "),
            ["user=a b", "password=it's\\"]
        );
        assert_eq!(parsed("dbname=a\\ b host=''"), ["dbname=a b", "host="]);
        assert_eq!(parsed("options='-c geqo=off'"), ["options=-c geqo=off"]);
    }

    #[test]
    fn a_name_alone_is_that_of_a_database() {
        assert_eq!(parsed("shop"), ["dbname=shop"]);
        assert!(parsed(" ").is_empty());
    }

    /// The examples of PostgreSQL's documentation.
    #[test]
    fn uris_are_those_of_the_documentation() {
        assert!(parsed("postgresql://").is_empty());
        assert_eq!(parsed("postgresql://localhost"), ["host=localhost"]);
        assert_eq!(
            parsed("postgresql://localhost:5433"),
            ["host=localhost", "port=5433"]
        );
        assert_eq!(
            parsed("postgresql://localhost/mydb"),
            ["host=localhost", "dbname=mydb"]
        );
        assert_eq!(
            parsed("postgresql://user:secret@localhost"),
            ["user=user", "password=secret", "host=localhost"]
        );
        assert_eq!(
            parsed(
                "postgresql://other@localhost/otherdb?connect_timeout=10&application_name=myapp"
            ),
            [
                "user=other",
                "host=localhost",
                "dbname=otherdb",
                "connect_timeout=10",
                "application_name=myapp"
            ]
        );
        assert_eq!(
            parsed("postgresql://host1:123,host2:456/somedb?target_session_attrs=any"),
            [
                "host=host1,host2",
                "port=123,456",
                "dbname=somedb",
                "target_session_attrs=any"
            ]
        );
        assert_eq!(
            parsed("postgresql://user@localhost:5433/mydb?options=-c%20synchronous_commit%3Doff")
                .last()
                .map(String::as_str),
            Some("options=-c synchronous_commit=off")
        );
        assert_eq!(
            parsed("postgresql:///mydb?host=localhost&port=5433"),
            ["dbname=mydb", "host=localhost", "port=5433"]
        );
        assert_eq!(
            parsed("postgresql://[2001:db8::1234]/database"),
            ["host=2001:db8::1234", "dbname=database"]
        );
        assert_eq!(
            parsed("postgresql://%2Fvar%2Flib%2Fpostgresql/dbname"),
            ["host=/var/lib/postgresql", "dbname=dbname"]
        );
        assert_eq!(
            parsed("postgres://h?ssl=true"),
            ["host=h", "sslmode=require"]
        );
        assert_eq!(parsed("postgres://a,b:2"), ["host=a,b", "port=,2"]);
        assert_eq!(parsed("postgres:///d?user=x%40y"), ["dbname=d", "user=x@y"]);
    }

    #[test]
    fn what_cannot_be_parsed_is_refused() {
        for text in [
            "host localhost=",
            "a=b host",
            "password='x",
            "=x",
            "postgres://[::1/d",
            "postgres://h?x",
            "postgres://%zz",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
